// The page around the pad: searches while one draws, results, the photo that is looked at, keys.
// `element` and `server` come from gradio's HTML component; makePad from pad.js, EXAMPLES from examples.json.

const $ = (selector) => element.querySelector(selector);
const PAUSE = 120; // milliseconds between two searches while the pen is down
const KEPT = 300; // thumbnails that are remembered
const root = $(".caan"), grid = $(".grid"), detail = $(".detail"), help = $(".help");
const thumbnails = new Map(); // the head of a content's hash -> data URL
let gallery = "", mode = "sketch", results = [], shown = -1, whyOpen = false, like = null, photos = 0;

const key = (content) => content.slice(0, 16);
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
async function call(name, request) {
  let answer;
  try {
    answer = await server[name](request);
  } catch (error) {
    answer = { error: "The server does not answer: is caan app still running?" };
  }
  return answer && typeof answer === "object" ? answer : { error: "The server refused this request." };
}
function say(words, kind = "") {
  $(".words").textContent = words;
  $(".words").dataset.kind = kind;
}
function note(words) {
  $(".note").textContent = words;
  $(".note").hidden = !words;
}

// -- searching: one request at a time, always for the newest state of the pad
let timer = 0, wanted = false, busy = false, last = 0;
function changed(now) {
  mode = "sketch";
  refreshTools();
  clearTimeout(timer);
  grid.setAttribute("aria-busy", "true");
  timer = setTimeout(pump, now ? 0 : Math.max(0, PAUSE - (performance.now() - last)));
}
async function pump() {
  clearTimeout(timer);
  timer = 0;
  wanted = true;
  grid.setAttribute("aria-busy", "true");
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    last = performance.now();
    await search();
  }
  busy = false;
  grid.setAttribute("aria-busy", String(timer !== 0));
}
async function search() {
  const asked = mode + gallery, request = { gallery, folder: $(".folder").value, known: [...thumbnails.keys()] };
  let answer;
  if (mode === "more") {
    answer = await call("more", { ...request, content: like.content });
  } else if (pad.isEmpty()) {
    return showStart();
  } else {
    answer = await call("search", { ...request, sketch: pad.data() });
  }
  if (asked === mode + gallery && (mode === "more" || !pad.isEmpty())) showAnswer(answer);
}
function showStart() {
  results = [];
  grid.replaceChildren();
  root.dataset.mode = "start";
  $(".back").hidden = true;
  note("");
  say("");
}
function showAnswer(answer) {
  $(".back").hidden = mode !== "more";
  if (answer.empty) return showStart();
  root.dataset.mode = "results";
  if (answer.error) {
    note("");
    if (!pad.isDrawing()) say(answer.error, "error"); // the first pixels of a stroke are no drawing yet
    return;
  }
  results = answer.results;
  for (const result of results) keepThumbnail(result);
  note(answer.note);
  if (!results.length) say("No photos here: choose another folder.");
  else if (mode === "more") say(`Photos like ${like.name}`);
  else if (!answer.similar) say("Nothing similar: no photo stands out. These are the nearest.", "weak");
  else say(`The ${results.length} nearest of ${photos.toLocaleString("en")} photos`);
  drawGrid();
}
function keepThumbnail(result) {
  const name = key(result.content), picture = result.thumbnail ?? thumbnails.get(name) ?? "";
  thumbnails.delete(name); // to the end: the oldest goes first
  thumbnails.set(name, picture);
  for (const old of thumbnails.keys()) {
    if (thumbnails.size <= KEPT) break;
    thumbnails.delete(old);
  }
}

// -- results
function drawGrid() {
  const old = new Map([...grid.children].map((node) => [node.dataset.content, node]));
  const focused = document.activeElement?.dataset?.content;
  const nodes = results.map((result, place) => {
    const node = old.get(result.content) || makeResult(result);
    node.place = place;
    node.querySelector(".score").textContent = result.score.toFixed(3);
    const copies = node.querySelector(".copies"); // which photos count as copies of one shot depends on what else was found
    copies.textContent = `×${result.copies}`;
    copies.title = `${result.copies} copies`;
    copies.hidden = result.copies < 2;
    node.setAttribute("aria-label", `${place + 1}: ${result.name}, score ${result.score.toFixed(3)}`);
    return node;
  });
  grid.replaceChildren(...nodes);
  if (focused) grid.querySelector(`[data-content="${focused}"]`)?.focus({ preventScroll: true });
}
function makeResult(result) {
  const picture = make("img", { src: thumbnails.get(key(result.content)) || "", alt: "", draggable: false });
  const node = make("button", { type: "button", className: "result", title: result.name },
    make("span", { className: "frame" }, picture), make("span", { className: "score" }), make("span", { className: "copies" }));
  node.dataset.content = result.content;
  node.addEventListener("click", () => openPhoto(node.place));
  return node;
}
grid.addEventListener("keydown", (event) => {
  const nodes = [...grid.children], place = nodes.indexOf(document.activeElement);
  const row = nodes.filter((node) => node.offsetTop === nodes[0]?.offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
  if (place < 0 || !step) return;
  event.preventDefault();
  nodes[Math.min(nodes.length - 1, Math.max(0, place + step))].focus();
});

// -- the photo that is looked at
async function openPhoto(place) {
  const result = results[place];
  if (!result) return;
  shown = place;
  $(".name").textContent = result.name;
  $(".large").src = thumbnails.get(key(result.content)) || "";
  $(".large").alt = result.name;
  $(".said").textContent = `Number ${place + 1} of ${results.length}, score ${result.score.toFixed(3)}`;
  $(".paths").replaceChildren();
  $(".previous").disabled = place === 0;
  $(".next").disabled = place === results.length - 1;
  $(".why").hidden = pad.isEmpty();
  showWhy(whyOpen && !pad.isEmpty());
  if (!detail.open) detail.showModal();
  const answer = await call("photo", { gallery, content: result.content });
  if (results[shown]?.content !== result.content || !detail.open) return;
  if (answer.error) {
    $(".said").textContent = answer.error;
    return;
  }
  $(".large").src = answer.picture;
  if (!answer.whole) $(".said").textContent += ". Its file is not there, or not the one that was indexed: this is the thumbnail.";
  $(".paths").replaceChildren(...answer.paths.map((path) => make("li", { textContent: path })));
  if (answer.copies > answer.paths.length) $(".paths").append(make("li", { textContent: `and ${answer.copies - answer.paths.length} more` }));
}
function step(by) {
  if (results[shown + by]) openPhoto(shown + by);
}
async function showWhy(open) {
  whyOpen = open;
  $(".why").setAttribute("aria-expanded", String(open));
  $(".explanation").hidden = !open;
  detail.classList.toggle("explained", open);
  if (!open) return;
  $(".pictures").hidden = true;
  $(".why-words").textContent = "Looking…";
  const { content } = results[shown];
  const answer = await call("explain", { gallery, content, sketch: pad.data() });
  if (results[shown]?.content !== content) return;
  $(".why-words").textContent = answer.error || (answer.links.length ? "" : "No stroke has a part of this photo for its own.");
  $(".why-words").hidden = !$(".why-words").textContent;
  if (answer.error) return;
  $(".pictures").hidden = false;
  $(".heat").src = answer.heat;
  drawPairs(answer);
  $(".explanation").scrollIntoView({ block: "nearest" });
}
function drawPairs({ sketch, photo, links }) {
  const SVG = "http://www.w3.org/2000/svg", svg = $(".pairs");
  const add = (parent, tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent.append(node);
    return node;
  };
  svg.replaceChildren();
  svg.setAttribute("viewBox", "0 0 210 100");
  [[sketch, 0], [photo, 110]].forEach(([href, x]) => add(svg, "image", { href, x, y: 0, width: 100, height: 100 }));
  links.forEach(({ from, to, colour, score }, number) => {
    const [x1, y1, x2, y2] = [from[0] * 100, from[1] * 100, 110 + to[0] * 100, to[1] * 100];
    const group = add(svg, "g", { class: "pair" }), bend = (y1 + y2) / 2 + (number % 6 - 2.5) * 2;
    const line = `M${x1} ${y1} Q${(x1 + x2) / 2} ${bend} ${x2} ${y2}`;
    add(group, "path", { d: line, class: "halo" });
    add(group, "path", { d: line, stroke: colour });
    for (const [x, y] of [[x1, y1], [x2, y2]]) {
      add(group, "circle", { cx: x, cy: y, r: 3.2, fill: colour });
      add(group, "text", { x, y: y + 1.3 }).textContent = number + 1;
    }
    add(group, "title", {}).textContent = `${number + 1}: cosine ${score.toFixed(2)}`;
  });
}
function moreLike() {
  like = results[shown];
  mode = "more";
  detail.close();
  pump();
}
detail.addEventListener("close", () => grid.children[shown]?.focus());

// -- tools
function refreshTools() {
  $(".undo").disabled = !pad.canUndo();
  $(".redo").disabled = !pad.canRedo();
  $(".clear").disabled = pad.isEmpty();
  root.classList.toggle("drawn", !pad.isEmpty());
}
function choose(name) {
  pad.choose(name);
  for (const tool of ["pen", "eraser"]) $(`.${tool}`).setAttribute("aria-pressed", String(tool === name));
  root.dataset.tool = name;
}
function resize(by) {
  $(".size").value = Number($(".size").value) + by;
  pad.setWidth(Number($(".size").value));
}
function fillSelect(select, choices, first) {
  select.replaceChildren(...(first ? [new Option(first, "")] : []), ...choices.map(({ value, label }) => new Option(label, value)));
}
function describeGallery(answer) {
  if (answer.error) {
    root.dataset.mode = "results";
    return say(answer.error, "error");
  }
  photos = answer.photos;
  fillSelect($(".folder"), answer.folders, "All folders");
  $(".pad").setAttribute("aria-label", `Drawing pad: draw with mouse, pen or finger to search ${photos} photos`);
}
async function chooseGallery() {
  gallery = $(".gallery").value;
  if (mode === "more") mode = "sketch";
  describeGallery(await call("folders", { gallery }));
  pump();
}

const pad = makePad($(".pad"), changed, (words) => { root.dataset.mode = results.length ? "results" : "start"; note(words); });
const actions = {
  ".pen": () => choose("pen"), ".eraser": () => choose("eraser"), ".undo": pad.undo, ".redo": pad.redo, ".clear": pad.clear,
  ".upload": () => $(".file").click(), ".camera": () => $(".shot").click(), ".help-open": () => help.showModal(),
  ".previous": () => step(-1), ".next": () => step(1), ".more": moreLike, ".why": () => showWhy(!whyOpen),
  ".copy": () => navigator.clipboard?.writeText($(".paths li")?.textContent || ""),
  ".back": () => { mode = "sketch"; pump(); },
};
for (const [selector, action] of Object.entries(actions)) $(selector).addEventListener("click", () => action());
for (const dialog of [detail, help]) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
}
for (const input of [$(".file"), $(".shot")]) {
  input.addEventListener("change", () => { pad.open(input.files[0]); input.value = ""; });
}
$(".size").addEventListener("input", () => resize(0));
$(".gallery").addEventListener("change", chooseGallery);
$(".folder").addEventListener("change", pump);
for (const { name, path } of EXAMPLES) {
  const button = make("button", { type: "button", title: `Example: ${name}` });
  button.setAttribute("aria-label", `Example sketch: ${name}`);
  button.innerHTML = `<svg viewBox="0 0 100 100"><path d="${path}"/></svg>`; // from the package's own file
  button.addEventListener("click", () => { note(""); pad.example(path); });
  $(".examples").append(button);
}

// -- pictures from outside, and keys
const carries = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files || [])].find(({ type }) => type.startsWith("image/"));
  if (file) { event.preventDefault(); pad.open(file); }
});
document.addEventListener("dragover", (event) => { if (carries(event)) { event.preventDefault(); $(".drop-hint").hidden = false; } });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $(".drop-hint").hidden = true; });
document.addEventListener("drop", (event) => {
  $(".drop-hint").hidden = true;
  if (carries(event)) { event.preventDefault(); pad.open(event.dataTransfer.files[0]); }
});
document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey, letter = event.key.toLowerCase();
  if (event.target.closest("select, textarea, input:not([type=range])") || event.altKey) return;
  const keys = detail.open
    ? { arrowleft: () => step(-1), arrowright: () => step(1), m: moreLike, w: () => $(".why").hidden || showWhy(!whyOpen) }
    : { p: () => choose("pen"), e: () => choose("eraser"), "[": () => resize(-1), "]": () => resize(1), u: actions[".upload"],
        delete: pad.clear, backspace: pad.clear, "?": actions[".help-open"] };
  const commands = { z: event.shiftKey ? pad.redo : pad.undo, y: pad.redo };
  const action = help.open ? null : command ? (detail.open ? null : commands[letter]) : keys[letter];
  if (action) { event.preventDefault(); action(); }
});

(async () => {
  refreshTools();
  const answer = await call("start", {});
  if (!answer.error) {
    gallery = answer.gallery;
    fillSelect($(".gallery"), answer.galleries);
    $(".gallery").value = gallery;
    $(".gallery").disabled = answer.galleries.length < 2;
  }
  describeGallery(answer);
})();
