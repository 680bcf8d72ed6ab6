// The page around the pad: searches while one draws, results, the choice of gallery and folder. detail.js and input.js follow.
// `element` and `server` come from gradio's HTML component; makePad from pad.js, EXAMPLES from examples.json.

const $ = (selector) => element.querySelector(selector);
const PAUSE = 120; // milliseconds between two searches while the pen is down
const KEPT = 300; // thumbnails that are remembered
const AGAIN = 3000; // milliseconds until a server that does not answer is asked again
const root = $(".caan"), grid = $(".grid"), detail = $(".detail"), help = $(".help");
const thumbnails = new Map(); // the head of a content's hash -> data URL
let gallery = "", mode = "sketch", results = [], like = null, photos = 0;

const key = (content) => content.slice(0, 16);
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
async function call(name, request) {
  let answer = null;
  try {
    answer = await server[name](request);
  } catch {
    // as where there is no answer: gradio gives nothing then
  }
  return answer && typeof answer === "object" ? answer : noAnswer();
}
async function noAnswer() {
  const { root, api_prefix } = window.gradio_config;
  const status = await fetch(`${root}${api_prefix}/login_check`).then((response) => response.status, () => 0);
  if (!status) return { lost: true, error: "The server does not answer: is caan app still running? What you drew is kept." };
  if (status === 401) return { error: "You are not logged in any more: log in in another tab and go on here." };
  return { error: "The server refused this request: try again in a few seconds." };
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
  try {
    while (wanted) {
      wanted = false;
      last = performance.now();
      await search();
    }
  } catch (error) {
    console.error(error);
    say("Something went wrong on this page: load it again.", "error");
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
  if (asked !== mode + gallery || mode !== "more" && pad.isEmpty()) return;
  showAnswer(answer);
  if (answer.lost && !timer) timer = setTimeout(pump, AGAIN);
}
function dropResults() {
  results = [];
  grid.replaceChildren();
}
function showStart() {
  dropResults();
  root.dataset.mode = "start";
  $(".back").hidden = true;
  note("");
  say("");
}
function showAnswer(answer) {
  $(".back").hidden = mode !== "more";
  if (answer.empty) {
    showStart();
    if (pad.hasPicture()) note("There is nothing in this picture: it has one colour all over.");
    return;
  }
  root.dataset.mode = "results";
  if (answer.error) {
    if (pad.isDrawing()) return; // the first pixels of a stroke are no drawing yet
    note("");
    say(answer.error, "error");
    if (!answer.lost) dropResults(); // they are of something else
    return;
  }
  results = answer.results;
  for (const result of results) keepThumbnail(result);
  note(answer.note);
  if (!results.length) say("No photos here: choose another folder.");
  else if (mode === "more") say(`Photos like ${like.name}`);
  else if (!answer.similar) say("Nothing similar: no photo stands out. These are the nearest.", "weak");
  else say(`The ${results.length} nearest ${$(".folder").value ? "in this folder" : `of ${photos.toLocaleString("en")} photos`}`);
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
  fillSelect($(".folder"), answer.folders || [], "All folders");
  photos = answer.photos || 0;
  if (answer.error) {
    root.dataset.mode = "results";
    return say(answer.error, "error");
  }
  $(".pad").setAttribute("aria-label", `Drawing pad: draw with mouse, pen or finger to search ${photos} photos`);
}
async function chooseGallery() {
  const chosen = gallery = $(".gallery").value;
  mode = "sketch";
  $(".back").hidden = true;
  dropResults(); // another gallery's
  note("");
  root.dataset.mode = "results";
  say("Opening the gallery…"); // its model may have to be loaded
  const answer = await call("folders", { gallery });
  if (chosen !== gallery) return;
  describeGallery(answer);
  if (!answer.error) pump();
}

const pad = makePad($(".pad"), changed, (words) => { root.dataset.mode = results.length ? "results" : "start"; note(words); });
