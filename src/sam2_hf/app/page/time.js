// A clip: the slider, playing, tracking, and where each object is visible.

const slider = find(".s2-slider");
let wantedFrame = null; // asked for while an answer is awaited
let playing = false;

function goTo(number) {
  if (!state.message?.clip) return;
  const last = state.message.clip.frames - 1;
  const next = Math.min(Math.max(number, 0), last);
  if (slider) slider.value = next;
  if (state.waiting > 0) {
    wantedFrame = next;
    return;
  }
  wantedFrame = null;
  state.message.clip.frame = next;
  send("frame");
}

function showTime(message) {
  if (!message.clip) return;
  const clip = message.clip;
  find(".s2-time").hidden = false;
  slider.max = clip.frames - 1;
  if (wantedFrame === null) slider.value = clip.frame;
  const seconds = clip.fps ? ` · ${(clip.frame / clip.fps).toFixed(1)} s` : "";
  find(".s2-count").textContent = `${clip.frame + 1} / ${clip.frames}${seconds}`;
  const track = find("[data-do=track]");
  track.disabled = !clip.tracking && !clip.needs_tracking;
  track.textContent = clip.tracking ? "Stop" : "Track";
  track.classList.toggle("s2-stop", clip.tracking);
  root.style.setProperty("--done", clip.progress ?? 0);
  root.classList.toggle("s2-tracks", clip.tracking);
  showTimelines(message);
  const next = wantedFrame;
  wantedFrame = null;
  if (next !== null && next !== clip.frame && state.waiting === 0) goTo(next);
  else if (playing && !clip.tracking) setTimeout(() => playing && goTo((clip.frame + 1) % clip.frames), 1000 / (2 * (clip.fps || 25)));
}

function showTimelines(message) {
  const rows = message.objects.map((item) => {
    const row = document.createElement("div");
    row.className = "s2-timeline";
    row.dataset.number = item.number;
    row.dataset.signs = item.timeline;
    row.style.setProperty("--colour", item.colour);
    const name = document.createElement("span");
    name.textContent = item.name;
    const line = document.createElement("div");
    line.className = "s2-line";
    line.title = "Where the object is visible; dots are frames with prompts";
    const share = 100 / message.clip.frames;
    for (const match of item.timeline.matchAll(/1+|0+/g)) {
      const part = document.createElement("i");
      part.className = match[0][0] === "1" ? "s2-visible" : "s2-gone";
      part.style.left = `${match.index * share}%`;
      part.style.width = `${match[0].length * share}%`;
      line.append(part);
    }
    for (const prompted of item.prompted) {
      const dot = document.createElement("b");
      dot.style.left = `${(prompted + 0.5) * share}%`;
      line.append(dot);
    }
    const now = document.createElement("u");
    now.style.left = `${(message.clip.frame + 0.5) * share}%`;
    line.append(now);
    line.addEventListener("click", (event) => {
      const box = line.getBoundingClientRect();
      goTo(Math.floor(((event.clientX - box.left) / box.width) * message.clip.frames));
    });
    row.append(name, line);
    return row;
  });
  find(".s2-timelines").replaceChildren(...rows);
}

if (mode === "clip") {
  slider.addEventListener("input", () => { playing = false; goTo(Number(slider.value)); });
  actions.play = () => {
    playing = !playing;
    root.classList.toggle("s2-plays", playing);
    if (playing) goTo((shownFrame() + 1) % state.message.clip.frames);
  };
  actions.track = () => {
    playing = false;
    if (state.message.clip.tracking) return send("stop");
    trigger("track", { frame: shownFrame() });
  };
  keys[" "] = ["play", () => state.message && actions.play()];
  keys.t = ["track, or stop", () => state.message && !find("[data-do=track]").disabled && actions.track()];
  keys.ArrowLeft = ["the frame before", () => goTo(shownFrame() - 1)];
  keys.ArrowRight = ["the frame after", () => goTo(shownFrame() + 1)];
}
