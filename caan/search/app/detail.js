// The photo that is looked at, in a dialog: larger, its paths, what is like it, why it was found.

let opened = null, whyOpen = false; // opened: the results at that time, and the place in them
const current = () => opened.list[opened.place];

async function openPhoto(place, list = results) {
  const result = list[place];
  if (!result) return;
  opened = { list, place };
  detail.setAttribute("aria-label", result.name);
  $(".name").textContent = result.name;
  $(".large").src = thumbnails.get(key(result.content)) || "";
  $(".large").alt = result.name;
  $(".said").textContent = `Number ${place + 1} of ${list.length}, score ${result.score.toFixed(3)}`;
  $(".paths").replaceChildren();
  $(".previous").disabled = place === 0;
  $(".next").disabled = place === list.length - 1;
  $(".copy").textContent = "Copy the path";
  $(".copy").disabled = true; // until it is there
  $(".why").hidden = pad.isEmpty();
  showWhy(whyOpen && !pad.isEmpty());
  showDialog(detail);
  const answer = await call("photo", { gallery, content: result.content });
  if (current() !== result || !detail.open) return;
  if (answer.error) {
    $(".said").textContent = answer.error;
    return;
  }
  $(".large").src = answer.picture;
  if (!answer.whole) $(".said").textContent += ". Its file is not there, or not the one that was indexed: this is the thumbnail.";
  $(".copy").disabled = false;
  $(".paths").replaceChildren(...answer.paths.map((path) => make("li", { textContent: path })));
  if (answer.copies > answer.paths.length) $(".paths").append(make("li", { textContent: `and ${answer.copies - answer.paths.length} more` }));
}
function step(by) {
  openPhoto(opened.place + by, opened.list);
}
async function copyPath() {
  const path = $(".paths li");
  try {
    await navigator.clipboard.writeText(path.textContent);
    $(".copy").textContent = "Copied";
  } catch { // browsers lend the clipboard to encrypted pages and to this machine's alone
    getSelection().selectAllChildren(path);
    $(".copy").textContent = "Selected: Ctrl+C copies it";
  }
}
async function showWhy(open) {
  whyOpen = open;
  $(".why").setAttribute("aria-expanded", String(open));
  $(".explanation").hidden = !open;
  detail.classList.toggle("explained", open);
  if (!open) return;
  $(".pictures").hidden = true;
  $(".why-words").textContent = "Looking…";
  const result = current();
  const answer = await call("explain", { gallery, content: result.content, sketch: pad.data() });
  if (current() !== result) return;
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
  like = current();
  mode = "more";
  detail.close();
  pump();
}
detail.addEventListener("close", () => grid.querySelector(`[data-content="${current().content}"]`)?.focus());

// -- dialogs: the browser's way back, a gesture on phones, closes them and does not leave the page
let leaving = false;
function showDialog(dialog) {
  if (dialog.open) return;
  dialog.showModal();
  history.pushState({ dialog: true }, "");
}
function closeDialogs() {
  for (const dialog of [detail, help]) dialog.close();
}
for (const dialog of [detail, help]) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
  dialog.addEventListener("close", () => {
    if (!history.state?.dialog) return;
    leaving = true;
    history.back();
  });
}
window.addEventListener("popstate", () => {
  if (!leaving) closeDialogs();
  leaving = false;
});
