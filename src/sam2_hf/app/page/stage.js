// The stage: an image with masks over it, and prompts by mouse, touch and keyboard. It runs once for each tab, as
// gradio runs the script of an HTML component: with `element`, `trigger`, `props` and `watch` at hand.

const root = element.querySelector(".s2-stage");
const mode = root.dataset.mode;
const find = (selector) => root.querySelector(selector);
const [view, frame, image, video, layers, marks, empty, note] =
  ["view", "frame", "image", "video", "layers", "marks", "empty", "note"].map((name) => find(".s2-" + name));

const state = { message: null, tool: "object", corner: null, drag: null, waiting: 0, seen: new Map() };
const MOST_SEEN = 500; // images that are kept; more than the server remembers to have sent

root.querySelectorAll("[data-for]").forEach((item) => {
  if (!item.dataset.for.split(" ").includes(mode)) item.remove();
});

// What is sent: one event with the kind of what is done. The server answers with a whole message.

function send(kind, given = {}) {
  state.waiting += 1;
  root.classList.add("s2-waits");
  trigger("act", { kind, ...given, ...(mode === "clip" ? { frame: shownFrame() } : {}) });
}

function shownFrame() {
  return state.message && state.message.clip ? state.message.clip.frame : 0;
}

// What is shown

function addressOf(part) {
  if (part.url) {
    state.seen.set(part.key, part.url);
    while (state.seen.size > MOST_SEEN) state.seen.delete(state.seen.keys().next().value);
  }
  const address = state.seen.get(part.key);
  if (!address) state.lost = true;
  return address || "";
}

function setSource(picture, address) {
  if (picture.getAttribute("src") !== address) picture.setAttribute("src", address);
}

function show(message) {
  if (!message) return;
  state.waiting = Math.max(0, state.waiting - 1);
  root.classList.toggle("s2-waits", state.waiting > 0);
  root.dataset.answer = message.answer;
  say(message.error || "", Boolean(message.error));
  if (!message.width) return;
  state.message = message;
  state.lost = false;
  frame.hidden = false;
  empty.hidden = true;
  frame.style.setProperty("--ratio", message.width / message.height);
  if (message.image) setSource(image, addressOf(message.image));
  showLayers(message);
  showMarks(message);
  showObjects(message);
  showCandidates(message);
  showTime(message);
  for (const step of ["undo", "redo"]) {
    const button = find(`[data-do=${step}]`);
    if (button) button.disabled = !message["can_" + step];
  }
  if (!message.error) hint(message);
  if (state.lost) send("again");
}

function showLayers(message) {
  const wanted = new Set(message.layers.map((layer) => String(layer.number)));
  [...layers.children].forEach((layer) => wanted.has(layer.dataset.number) || layer.remove());
  for (const layer of message.layers) {
    let picture = layers.querySelector(`[data-number="${layer.number}"]`);
    if (!picture) {
      picture = document.createElement("img");
      picture.dataset.number = layer.number;
      picture.alt = "";
      picture.draggable = false;
      layers.append(picture);
    }
    setSource(picture, addressOf(layer));
    picture.classList.toggle("s2-active", layer.number === message.active);
  }
}

function svg(name, given, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function showMarks(message) {
  marks.replaceChildren();
  marks.setAttribute("viewBox", `0 0 ${message.width} ${message.height}`);
  const unit = message.width / Math.max(1, frame.clientWidth);
  if (message.everything !== undefined) return;
  for (const item of message.objects) {
    if (item.box) rectangle(item.box, item.colour, unit);
    for (const [x, y, label] of item.points || []) {
      const dim = item.number === message.active ? 1 : 0.55;
      svg("circle", { cx: x, cy: y, r: 6.5 * unit, "stroke-width": 2 * unit, opacity: dim, class: label ? "s2-on" : "s2-off" }, marks);
      const arm = 3 * unit;
      const cross = label ? `M${x} ${y - arm}V${y + arm}M${x - arm} ${y}H${x + arm}` : `M${x - arm} ${y}H${x + arm}`;
      svg("path", { d: cross, "stroke-width": 1.6 * unit, opacity: dim, class: "s2-sign" }, marks);
    }
  }
  if (state.corner) svg("circle", { cx: state.corner[0], cy: state.corner[1], r: 4 * unit, class: "s2-corner" }, marks);
}

function rectangle([x0, y0, x1, y1], colour, unit) {
  const given = { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0), rx: 3 * unit };
  return svg("rect", { ...given, stroke: colour, "stroke-width": 2 * unit, class: "s2-rect" }, marks);
}

function say(text, isError = false) {
  note.textContent = text;
  note.classList.toggle("s2-error", isError);
}

const isTouch = matchMedia("(pointer: coarse)").matches;

function hint(message) {
  if (message.everything !== undefined) return say(`${message.everything} masks. The sliders filter them; a click goes back to objects.`);
  if (state.corner) return say("Now the opposite corner of the box. Esc gives it up.");
  if (!message.objects.some((item) => item.score !== null)) return say(isTouch ? "Tap an object, or choose Box." : "Click on an object, or drag a box around it.");
  if (message.clip && message.clip.needs_tracking && !message.clip.tracking)
    return say("Track follows the objects through the clip. On any frame, clicks correct them.");
  say(isTouch ? "Tap to add to the object, touch for long to take away." : "Click to add to the object, right-click to take away. N begins another object.");
}

// Prompts

function position(event) {
  const box = frame.getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  const clamp = (value, most) => Math.min(Math.max(value, 0), 1) * most;
  return [clamp(across, state.message.width), clamp(down, state.message.height)];
}

function addPoint([x, y], label) {
  const active = state.message.objects.find((item) => item.number === state.message.active);
  if (active && active.points) active.points.push([x, y, label]); // at once; the answer brings the mask
  showMarks(state.message);
  send("point", { x, y, label });
}

function addCorner(at) {
  if (!state.corner) {
    state.corner = at;
  } else {
    send("box", { box: [...state.corner, ...at] });
    state.corner = null;
  }
  showMarks(state.message);
  hint(state.message);
}

frame.addEventListener("contextmenu", (event) => event.preventDefault());

frame.addEventListener("pointerdown", (event) => {
  if (!state.message || event.button === 1) return;
  if (event.pointerType === "touch" && state.tool !== "box") {
    state.drag = { from: position(event), touch: true, button: 0, at: Date.now(), x: event.clientX, y: event.clientY };
    return;
  }
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  state.drag = { from: position(event), button: event.button, at: Date.now(), x: event.clientX, y: event.clientY };
});

frame.addEventListener("pointermove", (event) => {
  if (!state.drag || state.drag.touch) return;
  if (Math.hypot(event.clientX - state.drag.x, event.clientY - state.drag.y) < 6 && !state.drag.moved) return;
  state.drag.moved = true;
  showMarks(state.message);
  rectangle([...state.drag.from, ...position(event)], "#fff", state.message.width / frame.clientWidth).classList.add("s2-drawn");
});

frame.addEventListener("pointercancel", () => (state.drag = null)); // the page is scrolled

frame.addEventListener("pointerup", (event) => {
  const drag = state.drag;
  state.drag = null;
  if (!drag || !state.message) return;
  const at = position(event);
  if (drag.moved && drag.button === 0) {
    state.corner = null;
    send("box", { box: [...drag.from, ...at] });
  } else if (drag.button === 2 || event.ctrlKey || state.tool === "background") {
    addPoint(at, 0);
  } else if (state.tool === "box") {
    addCorner(at);
  } else {
    const isLong = drag.touch && Date.now() - drag.at > 450;
    addPoint(at, isLong ? 0 : 1);
  }
});

function chooseTool(tool) {
  state.tool = tool;
  state.corner = null;
  frame.dataset.tool = tool;
  root.querySelectorAll("[data-tool].s2-button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  });
  if (state.message) showMarks(state.message);
}

// Buttons and keys

const uploader = () => document.querySelector(`input[type=file]:has(+ #${mode}-upload)`);

const actions = {
  open: () => uploader()?.click(),
  new: () => send("new"),
  undo: () => send("undo"),
  redo: () => send("redo"),
  keys: () => (find(".s2-keys").hidden = !find(".s2-keys").hidden),
};

root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.disabled) return;
  if (button.dataset.tool) chooseTool(button.dataset.tool);
  if (button.dataset.do) actions[button.dataset.do]?.();
});

const keys = {
  o: ["click on the object", () => chooseTool("object")],
  b: ["click on the background", () => chooseTool("background")],
  x: ["two clicks make a box", () => chooseTool("box")],
  n: ["new object", () => actions.new()],
  z: ["undo", () => mode !== "live" && actions.undo()],
  y: ["redo", () => mode !== "live" && actions.redo()],
  Delete: ["remove the object", () => state.message?.active && send("remove", { number: state.message.active })],
  Escape: ["give up a box", () => { state.corner = null; find(".s2-keys").hidden = true; if (state.message) show({ ...state.message }); }],
  "?": ["these keys", () => actions.keys()],
};
if (mode === "image") {
  for (const index of [0, 1, 2]) keys[String(index + 1)] = [`candidate ${index + 1}`, () => state.message?.candidates.length > index && send("choose", { candidate: index })];
}

function listKeys() {
  const rows = Object.entries(keys).map(([key, [what]]) => {
    const row = document.createElement("div");
    const sign = document.createElement("kbd");
    sign.textContent = { " ": "space", Delete: "del", Escape: "esc", ArrowLeft: "←", ArrowRight: "→" }[key] || key.toUpperCase();
    row.append(sign, what);
    return row;
  });
  find(".s2-keys").replaceChildren(...rows);
}

function onKey(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKey);
  const isWriting = event.target.closest("input:not([type=range]), textarea, select, [contenteditable=true]");
  if (root.offsetParent === null || isWriting || event.altKey || (event.target.closest("button") && event.key === " ")) return;
  const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if ((event.ctrlKey || event.metaKey) && !isUndo) return;
  let key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Backspace") key = "Delete";
  if (key === "z" && event.shiftKey) key = "y";
  if (!keys[key] || (event.target.type === "range" && key.startsWith("Arrow"))) return;
  event.preventDefault();
  keys[key][1]();
}
document.addEventListener("keydown", onKey);

// Files that are dropped or pasted go the way of those that are opened. What the server would refuse is not sent.

function give(file) {
  const input = uploader();
  if (!input || !file) return;
  const files = new DataTransfer();
  files.items.add(file);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

function refusal(file) {
  const types = props.file_types || [];
  if (types.length && !types.some((type) => file.name.toLowerCase().endsWith(type)))
    return `Expected a file of ${types.map((type) => type.slice(1).toUpperCase()).join(", ")}, got ${file.name}.`;
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  if (props.file_bytes && file.size > props.file_bytes)
    return `A file may have ${megabytes(props.file_bytes)}, this one has ${megabytes(file.size)}.`;
  return "";
}

function onFile(event) {
  if (!element.isConnected) return document.removeEventListener("change", onFile, true);
  const file = event.target === uploader() && event.target.files[0];
  if (!file) return;
  const reason = refusal(file);
  say(reason || `Reading ${file.name} ...`, Boolean(reason));
  if (!reason) return;
  event.stopImmediatePropagation();
  event.target.value = "";
}
document.addEventListener("change", onFile, true); // before gradio sends it
for (const kind of ["dragover", "dragleave", "drop"]) {
  view.addEventListener(kind, (event) => {
    event.preventDefault();
    view.classList.toggle("s2-over", kind === "dragover");
    if (kind === "drop") give(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  if (element.isConnected && root.offsetParent !== null && event.clipboardData.files.length) give(event.clipboardData.files[0]);
});

// The empty state

const TEXTS = {
  image: ["Open an image", "Drop one here, paste it, or press Open. Then click on an object: its mask appears. Drag a box around what a click does not catch."],
  clip: ["Open a clip", "Drop one here, or press Open. Click on objects in any frame, and track them through the clip."],
  live: ["Use a camera", "Press Start camera, and click on what to track. Frames go to the machine that runs this page, and are not kept."],
};
[find(".s2-title").textContent, find(".s2-explain").textContent] = TEXTS[mode];
for (const [index, example] of (props.examples || []).entries()) {
  const card = document.createElement("button");
  card.type = "button";
  card.className = "s2-example";
  card.dataset.example = index;
  const picture = document.createElement("img");
  picture.src = example.url;
  picture.alt = "";
  card.append(picture, "Try: " + example.name);
  card.addEventListener("click", () => { say("Reading the example ..."); send("example", { index }); });
  find(".s2-examples").append(card);
}
