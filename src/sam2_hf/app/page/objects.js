// The list of objects, and the candidates of the active one.

function showObjects(message) {
  const list = find(".s2-objects");
  find(".s2-none").hidden = message.objects.length > 0;
  const writing = list.querySelector("input:focus");
  const kept = writing ? writing.closest("li").dataset.number : null;
  [...list.children].forEach((row) => {
    if (!message.objects.some((item) => String(item.number) === row.dataset.number)) row.remove();
  });
  for (const item of message.objects) {
    let row = list.querySelector(`[data-number="${item.number}"]`);
    if (!row) list.append((row = objectRow(item.number)));
    row.classList.toggle("s2-active", item.number === message.active);
    row.style.setProperty("--colour", item.colour);
    const name = row.querySelector("input");
    if (kept !== String(item.number)) name.value = item.name;
    const score = item.score === null || item.score === undefined ? "" : item.score.toFixed(2);
    row.querySelector(".s2-score").textContent = item.visible === false ? "hidden" : score;
  }
}

function objectRow(number) {
  const row = document.createElement("li");
  row.dataset.number = number;
  const swatch = document.createElement("button");
  swatch.type = "button";
  swatch.className = "s2-swatch";
  swatch.setAttribute("aria-label", "Prompts go to this object");
  const name = document.createElement("input");
  name.type = "text";
  name.maxLength = 40;
  name.setAttribute("aria-label", "Name of the object");
  const score = document.createElement("span");
  score.className = "s2-score";
  score.title = "Predicted IoU of the mask";
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "s2-remove";
  remove.textContent = "×";
  remove.setAttribute("aria-label", "Remove the object");
  row.append(swatch, name, score, remove);
  row.addEventListener("click", (event) => {
    if (event.target === remove) send("remove", { number });
    else if (state.message.active !== number) send("select", { number });
  });
  name.addEventListener("change", () => send("rename", { number, name: name.value }));
  name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
  return row;
}

function showCandidates(message) {
  const box = find(".s2-candidates");
  box.hidden = message.candidates.length === 0;
  const choices = message.candidates.map((candidate, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "s2-choice";
    button.dataset.candidate = index;
    button.setAttribute("aria-pressed", String(candidate.chosen));
    button.title = `Candidate ${index + 1}, predicted IoU ${candidate.score.toFixed(2)} (${index + 1})`;
    const ground = document.createElement("img");
    ground.src = image.getAttribute("src");
    const mask = document.createElement("img");
    mask.src = addressOf(candidate);
    const [left, top, side, ratio] = candidate.window; // of the image, in parts of its width
    for (const layer of [ground, mask]) {
      layer.alt = "";
      layer.style.width = `${100 / side}%`;
      layer.style.height = `${100 / side / ratio}%`;
      layer.style.left = `${(-100 * left) / side}%`;
      layer.style.top = `${(-100 * top) / side}%`;
    }
    const score = document.createElement("span");
    score.textContent = candidate.score.toFixed(2);
    button.append(ground, mask, score);
    button.addEventListener("click", () => send("choose", { candidate: index }));
    return button;
  });
  find(".s2-choices").replaceChildren(...choices);
}
