"""What is not in order in a gallery on Milvus, and its removal: contents that no photo has, and what kills have left."""

from dataclasses import dataclass, field

import numpy as np

from caan.search.milvus_tables import Tables, below, to_vector

UNIT = 0.01  # how far the length of a float16 vector may be from 1
PAGE = 5000  # rows without vectors that are read at once


@dataclass
class State:
    """What is odd: orphans, contents that no photo has; hollow, photos whose content is not there; twice, photos that are kept
    as readable and as unreadable; rootless, photos whose root is not there, by id, and `rootless_notes` the unreadable
    ones."""

    orphans: set[str] = field(default_factory=set)
    hollow: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    rootless: set[str] = field(default_factory=set)
    rootless_notes: set[str] = field(default_factory=set)


def look(tables: Tables, roots: set[str]) -> State:
    """Reads all ids. Contents before photos: of a content that is seen, a photo that came with it is seen as well."""
    state = State()
    contents = {row["id"] for row in tables.rows(tables.contents, "", ("id",), PAGE)}
    unreadable = {row["id"] for row in tables.rows(tables.notes, below("unreadable"), ("id",), PAGE)}
    state.rootless_notes = {name for name in unreadable if name.split("/")[1] not in roots}
    used = set()
    for row in tables.rows(tables.photos, "", ("id", "content"), PAGE):
        used.add(row["content"])
        if row["id"].partition("/")[0] not in roots:
            state.rootless.add(row["id"])
        if row["content"] not in contents:
            state.hollow.add(row["id"])
        if f"unreadable/{row['id']}" in unreadable:
            state.twice.add(row["id"])
    state.orphans = contents - used
    return state


def content_of(tables: Tables, photos: set[str]) -> dict[str, str]:
    """The content of each photo that is there."""
    return {name: row["content"] for name, row in tables.get(tables.photos, photos, ("id", "content")).items()}


def sweep_up(tables: Tables, roots: set[str]) -> int:
    """Removes what is odd; returns how many contents no photo had. Photos that go are new to the next refresh.

    What another process is writing meanwhile may look odd: it is looked at once more before it goes, and `put` looks once more
    itself.
    """
    state = look(tables, roots)
    tables.delete(tables.notes, state.rootless_notes | {f"unreadable/{name}" for name in state.twice})
    tables.delete(tables.photos, state.twice | state.rootless)
    tables.delete(tables.contents, state.orphans)
    hollow = content_of(tables, state.hollow)
    for name, content in content_of(tables, came_meanwhile(tables, state.orphans)).items():
        hollow[name] = content
    known = tables.get(tables.contents, set(hollow.values()))
    tables.delete(tables.photos, [name for name, content in hollow.items() if content not in known])
    return len(state.orphans)


def came_meanwhile(tables: Tables, orphans: set[str]) -> set[str]:
    """Photos that another process gave to contents since they were found to have none."""
    found, waiting = set(), sorted(orphans)
    for start in range(0, len(waiting), 500):
        among = ", ".join(f'"{content}"' for content in waiting[start : start + 500])
        found |= {row["id"] for row in tables.rows(tables.photos, f"content in [{among}]", ("id",))}
    return found


def problems(tables: Tables, roots: set[str]) -> list[str]:
    """What is damaged, in words. Contents without photos are no damage: a sweep is due."""
    state, wrong = look(tables, roots), 0
    for row in tables.rows(tables.contents, "", ("vector",)):
        wrong += not abs(float(np.linalg.norm(to_vector(row["vector"]))) - 1) < UNIT
    counts = {
        "vectors are damaged": wrong,
        "photos have lost their picture (the next caan index reads them again)": len(state.hollow),
        "photos are there twice (the next caan index reads them again)": len(state.twice),
        "photos have lost their folder (the next caan index removes them)": len(state.rootless | state.rootless_notes),
    }
    return [f"{count:,} {what}" for what, count in counts.items() if count]
