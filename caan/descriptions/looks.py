"""Words that speak of how a thing looks: evidence that an answer describes and does not define, praise or tell a story.

Ours, by group. It need not be complete: a description of a sentence or two holds several of them, and an answer about use
or history rarely holds two. Words that only announce looks ("shape", "colour", "outline") are left out on purpose: a model
that knows nothing of a class fills its sentences with them.
"""

from __future__ import annotations

COLOURS = """
    black white grey gray silver gold golden red orange yellow green blue purple violet pink brown tan beige cream amber
    colourful colorful dark light bright pale shiny dull glossy matte transparent translucent clear vivid reflective
    metallic grayish greyish reddish brownish yellowish greenish bluish whitish
    """
SHAPES = """
    round rounded circular circle oval ellipse square rectangle rectangular triangle triangular cylinder cylindrical cone
    conical sphere spherical dome domed cube cubic box boxy curve curved straight flat pointed pointy sharp tapered tapering
    tapers bent angular arch arched hollow symmetrical arc spiral ring hexagon hexagonal polygon dot stretched flattened
    wave crescent teardrop bulbous slender thin thick narrow wide broad long short tall small large big tiny huge slim stout
    elongated oblong compact bulky wavy zigzag star-shaped segmented forked hooked looped crossed
    """
SURFACES = """
    smooth rough bumpy ridged ribbed textured texture pattern patterned stripe striped spot spotted dotted speckled scale
    scaly fur furry hair hairy feather feathered feathery fluffy wool woolly shell skin leathery leather wrinkled wooden
    wood metal steel iron brass glass plastic fabric cloth stone brick ceramic rubber paper straw polished grain grainy
    spiny spiky thorny soft hard velvety waxy crust crumbly woven padded painted
    """
PARTS = """
    head face eye ear nose mouth beak bill snout trunk tusk horn antler antenna whisker mane neck body torso shoulder arm
    wing leg limb hoof paw claw foot feet toe finger hand tail fin flipper gill tooth teeth fang tongue belly abdomen thorax
    handle blade knob lever button switch wheel tyre tire spoke axle frame seat back backrest armrest base stem stalk leaf
    leaves petal root branch bark top bottom side edge rim lip lid spout neck corner tip point end front rear hull mast sail
    deck roof wall window door chimney tower column pillar step rail post pole panel screen dial hand string rope chain
    strap buckle lens barrel nozzle tube pipe hole slot opening cover case hinge hook loop knot fuselage cockpit propeller
    rotor engine windshield bumper headlight sleeve collar cuff hem heel sole lace brim crown bowl cap bulb filament
    tentacle
    """
PLACES = """
    above below beneath under underneath atop behind beside between inside outside around across along middle centre center
    left right upper lower vertical vertically horizontal horizontally upright diagonal parallel attached joined protruding
    protrudes sticking extends extending hanging rising row pair
    """

VISUAL_WORDS = frozenset(" ".join((COLOURS, SHAPES, SURFACES, PARTS, PLACES)).split())
