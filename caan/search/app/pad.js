// The pad: strokes as data, so that undo, redo and another size of the screen cost nothing.
// What is drawn lies on a transparent canvas; the paper is its background, so that the eraser erases pictures too.

const SENT = 512; // pixels of the square drawing that is sent
const PICTURE = 1024; // pixels of the longer side of an uploaded picture that is sent
const MOST_PIXELS = 50e6; // of a picture that is opened here
const MOST_BYTES = 30e6; // of its file
const SENDABLE = 3.5e6; // characters of a data URL, well below what the server takes

function makePad(canvas, changed, say) {
  let done = [], undone = [], stroke = null, tool = "pen", width = 4;
  const context = canvas.getContext("2d");

  const replaces = (act) => act.kind === "clear" || act.kind === "picture" || act.kind === "example";
  function current() { // what is on the pad: all since it was last cleared or replaced
    const all = stroke ? [...done, stroke] : done;
    const from = all.map(replaces).lastIndexOf(true);
    return all.slice(Math.max(from, 0)).filter((act) => act.kind !== "clear");
  }
  const isEmpty = () => !current().some((act) => act.kind !== "eraser");

  function trace(target, side, act) {
    const points = act.points.map(([x, y]) => [x * side, y * side]);
    target.beginPath();
    target.moveTo(...points[0]);
    if (points.length === 1) target.lineTo(points[0][0] + 0.01, points[0][1]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i], [nextX, nextY] = points[i + 1];
      target.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    if (points.length > 1) target.lineTo(...points.at(-1));
    target.lineWidth = act.width * side;
    target.stroke();
  }
  function paint(target, side, act) {
    target.save();
    target.lineCap = target.lineJoin = "round";
    target.strokeStyle = "#000";
    if (act.kind === "eraser") target.globalCompositeOperation = "destination-out";
    if (act.kind === "pen" || act.kind === "eraser") trace(target, side, act);
    if (act.kind === "example") {
      target.scale(side / 100, side / 100);
      target.lineWidth = 1.6;
      target.stroke(new Path2D(act.path));
    }
    if (act.kind === "picture") {
      const scale = side / Math.max(act.picture.width, act.picture.height);
      const [w, h] = [act.picture.width * scale, act.picture.height * scale];
      const place = [(side - w) / 2, (side - h) / 2, w, h];
      if (act.light) { target.fillStyle = "#333"; target.fillRect(...place); } // white ink on nothing is to be seen
      target.drawImage(act.picture, ...place);
    }
    target.restore();
  }
  const base = document.createElement("canvas"); // all but the stroke that is being drawn
  function redraw(all = true) {
    const side = canvas.width;
    if (all) {
      base.width = base.height = side; // also clears it
      for (const act of current()) if (act !== stroke) paint(base.getContext("2d"), side, act);
    }
    context.clearRect(0, 0, side, side);
    context.drawImage(base, 0, 0);
    if (stroke) paint(context, side, stroke);
  }
  function after(now = true, all = now) {
    redraw(all);
    changed(now);
  }
  function act(entry) {
    done.push(entry);
    undone = [];
    if (!replaces(entry)) paint(base.getContext("2d"), base.width, entry); // all before it is painted already
    after(true, replaces(entry));
  }

  // -- pointers
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (stroke || event.button > 0 && event.button !== 5) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
    canvas.setPointerCapture(event.pointerId);
    const erases = tool === "eraser" || event.button === 5; // the other end of a pen
    const size = erases ? 0.02 + 0.012 * width : 0.004 + 0.003 * width;
    stroke = { kind: erases ? "eraser" : "pen", width: size, points: [at(event)], pointer: event.pointerId };
    after(false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || event.pointerId !== stroke.pointer) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const part of events.length ? events : [event]) stroke.points.push(at(part));
    after(false);
  });
  function lift(event) {
    if (!stroke || event.pointerId !== stroke.pointer) return;
    const finished = stroke;
    stroke = null;
    act(finished);
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("lostpointercapture", lift); // no end was told: the next stroke has to begin

  // -- pictures
  async function open(file) {
    if (!file) return;
    if (file.size > MOST_BYTES) return say(`This file has ${Math.round(file.size / 1e6)} MB; the most is ${MOST_BYTES / 1e6} MB.`);
    const url = URL.createObjectURL(file), image = new Image();
    try {
      image.src = url;
      await new Promise((good, bad) => { image.onload = good; image.onerror = bad; });
      const [w, h] = [image.naturalWidth || 512, image.naturalHeight || 512];
      if (w * h > MOST_PIXELS) {
        return say(`This picture has ${Math.round(w * h / 1e6)} million pixels; the most is ${MOST_PIXELS / 1e6} million. Make it smaller.`);
      }
      act(scaled(image, w, h));
    } catch {
      say(`${file.name || "This"} is no picture that this browser can read: save it as PNG or JPEG.`);
    } finally {
      URL.revokeObjectURL(url);
    }
  }
  function copied(image, scale, w = image.width, h = image.height) {
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [Math.max(1, Math.round(w * scale)), Math.max(1, Math.round(h * scale))];
    const target = picture.getContext("2d");
    target.imageSmoothingQuality = "high";
    target.drawImage(image, 0, 0, picture.width, picture.height);
    return picture;
  }
  function scaled(image, w, h) {
    const picture = copied(image, Math.min(1, PICTURE / Math.max(w, h)), w, h);
    const pixels = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height).data;
    let clear = 0, opaque = 0, bright = 0;
    for (let i = 3; i < pixels.length; i += 4) {
      if (pixels[i] < 128) clear++;
      else { opaque++; bright += pixels[i - 3] + pixels[i - 2] + pixels[i - 1]; }
    }
    const light = clear > pixels.length / 40 && bright / Math.max(1, opaque) > 600;
    return { kind: "picture", picture, light, transparent: clear > 0 };
  }

  // -- what is sent: an upload as it is, with its transparency; a drawing on white
  function data() {
    const acts = current();
    if (acts.length === 1 && acts[0].kind === "picture") {
      let { picture, transparent } = acts[0], url = picture.toDataURL("image/png");
      while (transparent && url.length > SENDABLE) {
        picture = copied(picture, 0.7);
        url = picture.toDataURL("image/png");
      }
      return url.length < SENDABLE ? url : picture.toDataURL("image/jpeg", 0.9);
    }
    const paper = document.createElement("canvas"), ink = document.createElement("canvas");
    paper.width = paper.height = ink.width = ink.height = SENT;
    for (const act of acts) paint(ink.getContext("2d"), SENT, act);
    const target = paper.getContext("2d");
    target.fillStyle = "#fff";
    target.fillRect(0, 0, SENT, SENT);
    target.drawImage(ink, 0, 0);
    return paper.toDataURL("image/png");
  }

  new ResizeObserver(() => {
    const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    if (side && side !== canvas.width) {
      canvas.width = canvas.height = side;
      redraw();
    }
  }).observe(canvas);

  return {
    open, data, isEmpty,
    hasPicture: () => current().some((act) => act.kind === "picture"),
    example: (path) => act({ kind: "example", path }),
    clear: () => { if (!isEmpty()) act({ kind: "clear" }); },
    undo: () => { if (done.length && !stroke) { undone.push(done.pop()); after(); } },
    redo: () => { if (undone.length && !stroke) { done.push(undone.pop()); after(); } },
    canUndo: () => done.length > 0,
    canRedo: () => undone.length > 0,
    isDrawing: () => stroke !== null,
    choose: (name) => { tool = name; },
    setWidth: (value) => { width = value; },
  };
}
