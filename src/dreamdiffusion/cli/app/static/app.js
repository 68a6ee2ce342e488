// Sends what was chosen, asks how it goes, and shows the answer. A file is sent anew for every
// drawing: the server keeps none.

const element = (id) => document.getElementById(id);
const form = element("form");
const chosen = (name) => form.querySelector(`input[name=${name}]:checked`);
const ASK_MS = 700;
const LIVE_MS = 1000;

let job = null;

function say(text) {
  if (element("status").textContent !== text) element("status").textContent = text;
}

function working(is) {
  element("go").disabled = is;
  element("stop").hidden = !is;
}

function showDial() {
  const { dataset } = chosen("model");
  element("dial-row").hidden = dataset.label === undefined;
  if (dataset.label === undefined) return;
  element("dial-label").textContent = dataset.label;
  element("dial-low").textContent = dataset.low;
  element("dial-high").textContent = dataset.high;
  Object.assign(element("dial"), { min: dataset.least, max: dataset.most, value: dataset.own });
}

function send(address, file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (file && event.total) say(`Sending the file: ${Math.round((100 * event.loaded) / event.total)} %`);
    });
    request.addEventListener("load", () =>
      request.response?.job ? resolve(request.response.job) : reject(new Error(request.response?.error ?? "The server gave no answer.")),
    );
    request.addEventListener("error", () => reject(new Error("The server cannot be reached; is the program still running?")));
    request.send(file);
  });
}

async function answerOf(token) {
  for (;;) {
    const response = await fetch(`/jobs/${token}`);
    const found = await response.json();
    if (job !== token) return null;
    if (found.state === "waiting") say(found.position === 1 ? "Next in the queue." : `In the queue: ${found.position - 1} before you.`);
    else if (found.state === "running") say(found.stage || "Working.");
    else if (found.state === "done") return found.answer;
    else throw new Error(found.answer ?? found.error);
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  }
}

async function draw() {
  const recording = chosen("recording").value;
  const query = new URLSearchParams({ model: chosen("model").value, moments: element("moments").value, text: element("text").value });
  if (!element("dial-row").hidden) query.set("dial", element("dial").value);
  let file = null;
  if (recording === "file") {
    file = element("file").files[0] ?? null;
    if (!file) throw new Error("Choose a file, or one of the sample recordings.");
    const most = Number(element("file").dataset.most);
    if (file.size > 1e6 * most) throw new Error(`${file.name} has ${Math.round(file.size / 1e6)} MB; at most ${most} MB are taken.`);
    query.set("name", file.name);
  } else query.set("sample", recording.slice("sample:".length));
  say("Sending.");
  job = await send(`/jobs?${query}`, file);
  const answer = await answerOf(job);
  if (answer === null) return;
  // The server escapes every value, and the page's policy runs no script in it.
  element("result").innerHTML = answer;
  say("The picture is drawn.");
  element("result").focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  element("error").textContent = "";
  element("result").replaceChildren();
  working(true);
  try {
    await draw();
  } catch (error) {
    say("");
    element("error").textContent = error.message;
  } finally {
    job = null;
    working(false);
  }
});

function cancel() {
  if (job === null) return;
  fetch(`/jobs/${job}`, { method: "DELETE", keepalive: true });
  job = null;
  say("Stopped.");
}

element("stop").addEventListener("click", cancel);
window.addEventListener("pagehide", cancel);
element("file").addEventListener("change", () => (element("own").checked = true));
form.addEventListener("change", (event) => event.target.name === "model" && showDial());
showDial();

async function watchLive() {
  for (;;) {
    if (!document.hidden) {
      try {
        const { answer } = await (await fetch("/live")).json();
        if (element("live-state").dataset.shown !== answer) {
          element("live-state").innerHTML = answer;
          element("live-state").dataset.shown = answer;
        }
      } catch {
        element("live-state").textContent = "The server cannot be reached.";
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, LIVE_MS));
  }
}

if (element("live")) watchLive();
