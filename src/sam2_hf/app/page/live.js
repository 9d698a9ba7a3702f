// A camera: a frame is sent when the one before is answered, so none wait. What is shown is the frame that was tracked.

let camera = null;
const sent = document.createElement("canvas");
const LONGEST = 640;

async function startCamera() {
  if (camera) return stopCamera();
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "environment" }, audio: false });
  } catch (error) {
    camera = null;
    return say("No camera: " + (error.message || error.name || "it cannot be used here") + ". Browsers allow it at localhost and over HTTPS.", true);
  }
  video.srcObject = camera;
  await video.play();
  find("[data-do=camera]").textContent = "Stop camera";
  say("Click on what to track.");
  sendFrame();
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  find("[data-do=camera]").textContent = "Start camera";
}

function sendFrame() {
  if (!camera || !element.isConnected) return;
  if (!video.videoWidth || root.offsetParent === null) return setTimeout(sendFrame, 300); // another tab is shown
  const scale = Math.min(1, LONGEST / Math.max(video.videoWidth, video.videoHeight));
  sent.width = Math.round(video.videoWidth * scale);
  sent.height = Math.round(video.videoHeight * scale);
  sent.getContext("2d").drawImage(video, 0, 0, sent.width, sent.height);
  state.sent = sent.toDataURL("image/jpeg", 0.85);
  trigger("step", { frame: state.sent });
}

function showCamera(message) {
  if (message.live && message.error) return stopCamera(); // frames would only fail again
  if (message.live && camera) {
    setSource(image, state.sent);
    setTimeout(sendFrame, 15);
  }
}

if (mode === "live") actions.camera = startCamera;
