// What buttons, keys, files and the clipboard do; then the page begins.

const actions = {
  ".pen": () => choose("pen"), ".eraser": () => choose("eraser"), ".undo": pad.undo, ".redo": pad.redo, ".clear": pad.clear,
  ".upload": () => $(".file").click(), ".camera": () => $(".shot").click(), ".help-open": () => showDialog(help),
  ".previous": () => step(-1), ".next": () => step(1), ".more": moreLike, ".why": () => showWhy(!whyOpen),
  ".copy": copyPath,
  ".back": () => { mode = "sketch"; pump(); },
};
for (const [selector, action] of Object.entries(actions)) $(selector).addEventListener("click", () => action());
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
const picture = (files) => [...files].find(({ type }) => type.startsWith("image/"));
function take(file) {
  closeDialogs(); // the sketch that an open photo was found by goes
  pad.open(file);
}
document.addEventListener("paste", (event) => {
  const file = picture(event.clipboardData?.files || []);
  if (file) { event.preventDefault(); take(file); }
});
document.addEventListener("dragover", (event) => {
  event.preventDefault(); // of a link, too: the browser would leave the page for it
  $(".drop-hint").hidden = !carries(event);
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $(".drop-hint").hidden = true; });
document.addEventListener("drop", (event) => {
  $(".drop-hint").hidden = true;
  event.preventDefault();
  const { files } = event.dataTransfer;
  if (files.length) take(picture(files) || files[0]);
  else note("Only files can be dropped here: save the picture first, or copy and paste it.");
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

async function begin() {
  refreshTools();
  const answer = await call("start", {});
  if (answer.galleries) {
    gallery = answer.gallery;
    fillSelect($(".gallery"), answer.galleries);
    $(".gallery").value = gallery;
    $(".gallery").disabled = answer.galleries.length < 2;
  }
  describeGallery(answer);
  if (answer.lost) setTimeout(begin, AGAIN);
  else if (!answer.error) pump(); // what was drawn meanwhile
}
begin();
