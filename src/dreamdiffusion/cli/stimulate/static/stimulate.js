// Pictures frame by frame. All times are seconds of this page's clock (performance.now() / 1000),
// which is the clock of requestAnimationFrame too. A picture is drawn in one frame; the light
// follows with the next, whose time is the onset that is logged.

const PINGS = 20;
const REFRESH_S = 2;
const CHECK_FLIPS = 60;
const CHECK_FRAMES = 6;
const LEAST_BREAK_S = 5;
const RED_S = 0.3;

const element = (id) => document.getElementById(id);
const canvas = element("screen");
const brush = canvas.getContext("2d", { alpha: false });
const now = () => performance.now() / 1000;

class Aborted extends Error {}

// --- the server -------------------------------------------------------------------------------

const socket = new WebSocket(`ws://${location.host}/session`);
const waiting = [];
const arrived = [];

socket.addEventListener("message", (event) => {
  const message = { ...JSON.parse(event.data), received: now() };
  if (waiting.length) waiting.shift()(message);
  else arrived.push(message);
});
socket.addEventListener("close", () => {
  screen_.abort("the server closed the session");
  if (!finished) say("The session ended", "The program that shows this page has ended. Start it again, and open its page anew.");
});

const send = (type, content = {}) => socket.send(JSON.stringify({ type, ...content }));
const receive = () =>
  arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));

async function exchanges() {
  const found = [];
  for (let i = 0; i < PINGS; i++) {
    send("ping", { sent: now() });
    const { sent, server, received } = await receive();
    found.push([sent, server, received]);
  }
  return found;
}

// --- the screen -------------------------------------------------------------------------------

const screen_ = {
  last: 0,          // time of the frame that is being made
  frame: 1 / 60,    // s, measured
  intervals: [],
  missed: 0,
  why: null,        // of an abort

  abort(why) {
    if (this.why === null) this.why = why;
  },

  async tick() {
    const time = (await new Promise(requestAnimationFrame)) / 1000;
    if (this.why !== null) throw new Aborted(this.why);
    const interval = time - this.last;
    this.intervals.push(interval);
    this.missed += Math.max(0, Math.round(interval / this.frame) - 1);
    this.last = time;
    return time;
  },

  // Frames are counted by their times, so that one that was left out does not lengthen the rest.
  async until(start, seconds) {
    const frames = Math.max(1, Math.round(seconds / this.frame));
    while (this.last - start < (frames - 0.5) * this.frame) await this.tick();
    return this.last;
  },

  restart() {
    this.intervals = [];
    this.missed = 0;
  },

  async measure() {
    this.restart();
    this.last = (await new Promise(requestAnimationFrame)) / 1000;
    const start = this.last;
    this.intervals = [];
    while (this.last - start < REFRESH_S) await this.tick();
    const sorted = [...this.intervals].sort((a, b) => a - b);
    this.frame = sorted[Math.floor(sorted.length / 2)];
    this.restart();
  },

  frames() {
    const from = (interval) => Math.abs(interval - Math.max(1, Math.round(interval / this.frame)) * this.frame);
    const jitter = this.intervals.map(from).sort((a, b) => a - b);
    const at = (share) => 1000 * (jitter[Math.min(jitter.length - 1, Math.floor(share * jitter.length))] ?? 0);
    return {
      frame_ms: 1000 * this.frame,
      count: this.intervals.length + this.missed,
      missed: this.missed,
      jitter_p50_ms: at(0.5),
      jitter_p95_ms: at(0.95),
      jitter_max_ms: at(1),
    };
  },
};

function draw({ picture = null, cross = "#000", white = false }, settings) {
  const { width, height } = canvas;
  brush.fillStyle = "#808080";
  brush.fillRect(0, 0, width, height);
  if (picture) brush.drawImage(picture, Math.round((width - picture.width) / 2), Math.round((height - picture.height) / 2));
  if (cross) {
    brush.fillStyle = cross;
    brush.fillRect(width / 2 - 12, height / 2 - 2, 24, 4);
    brush.fillRect(width / 2 - 2, height / 2 - 12, 4, 24);
  }
  if (settings.photodiode) {
    const side = Math.round(Math.min(width, height) / 10);
    brush.fillStyle = white ? "#fff" : "#000";
    brush.fillRect(0, height - side, side, side);
  }
}

async function openScreen() {
  screen_.why = null;
  await document.documentElement.requestFullscreen();
  canvas.width = Math.round(innerWidth * devicePixelRatio);
  canvas.height = Math.round(innerHeight * devicePixelRatio);
  canvas.hidden = false;
}

async function closeScreen() {
  canvas.hidden = true;
  if (document.fullscreenElement) await document.exitFullscreen().catch(() => {});
}

document.addEventListener("fullscreenchange", () => {
  if (!document.fullscreenElement) screen_.abort("full screen was left");
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) screen_.abort("the page was hidden");
});
window.addEventListener("blur", () => screen_.abort("the page lost the keyboard"));

// The event's own time stamp: when the key went down, not when this page got round to it.
let pressed = null;
document.addEventListener("keydown", (event) => {
  if (canvas.hidden) return;
  if (event.key === "Escape") screen_.abort("Escape was pressed");
  if (event.key === " " && pressed === null) pressed = event.timeStamp / 1000;
  event.preventDefault();
});

// --- words and the button ---------------------------------------------------------------------

let finished = false;

function say(title, text) {
  element("title").textContent = title;
  element("text").textContent = text;
}

function click(label, after = 0) {
  const button = element("go");
  button.textContent = label;
  button.disabled = true;
  setTimeout(() => {
    button.disabled = false;
    button.focus();
  }, 1000 * after);
  return new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
}

async function consent(text) {
  const box = element("agree");
  say("Before we begin", text);
  element("agreement").hidden = false;
  element("go").textContent = "Continue";
  box.focus();
  await new Promise((resolve) => {
    box.addEventListener("change", () => (element("go").disabled = !box.checked));
    element("go").addEventListener("click", resolve, { once: true });
  });
  element("agreement").hidden = true;
  send("agree");
}

// --- blocks -----------------------------------------------------------------------------------

async function load(trials) {
  const pictures = new Map();
  for (const { picture } of trials) {
    if (pictures.has(picture)) continue;
    const response = await fetch(`/picture/${picture}`);
    if (!response.ok) throw new Error(`picture ${picture} cannot be loaded`);
    pictures.set(picture, await createImageBitmap(await response.blob()));
  }
  return pictures;
}

async function target(start, settings) {
  const drawn = await screen_.until(start, screen_.frame);
  pressed = null;
  draw({ cross: "#d00" }, settings);
  const shown = await screen_.tick();
  await screen_.until(drawn, RED_S);
  draw({}, settings);
  const end = await screen_.until(drawn, settings.target_s);
  send("target", { shown, response: pressed === null ? null : pressed - shown });
  return end;
}

async function showBlock(block, pictures, settings) {
  draw({}, settings);
  let start = await screen_.tick();
  for (const [trial, { picture, gap_s, target: red }] of block.trials.entries()) {
    if (red) start = await target(start, settings);
    const drawn = await screen_.until(start, gap_s);
    const missed = screen_.missed;
    draw({ picture: pictures.get(picture), white: true }, settings);
    const shown = await screen_.tick();
    send("onset", { trial, shown });
    start = await screen_.until(drawn, settings.picture_s);
    draw({}, settings);
    const gone = await screen_.tick();
    send("offset", { trial, drawn, shown, gone, missed: screen_.missed - missed });
  }
}

async function runBlock(block, settings) {
  const pictures = await load(block.trials);
  const frames = () => Math.max(1, Math.round(settings.picture_s / screen_.frame));
  say(
    `Block ${block.number} of ${block.of}`,
    `Look at the cross in the middle, and blink as little as you can. When the cross turns red, press the space bar. Escape ends the block at once.`,
  );
  await click("Start the block");
  try {
    await openScreen();
    draw({}, settings);
    await screen_.measure();
    send("block_start", { exchanges: await exchanges() });
    await showBlock(block, pictures, settings);
    send("block_end", {
      exchanges: await exchanges(),
      frames: {
        ...screen_.frames(),
        asked_ms: 1000 * settings.picture_s,
        used_ms: 1000 * frames() * screen_.frame,
      },
    });
    say("A break", "Rest your eyes. Go on when you like.");
    await closeScreen();
    await click("Go on", LEAST_BREAK_S);
  } catch (error) {
    await closeScreen();
    const why = error instanceof Aborted ? error.message : `the browser says: ${error.message}`;
    send("abort", { why });
    say("The block was stopped", `It stopped because ${why}. The block begins anew when you go on; close the page to end the session.`);
    await click("Go on");
  } finally {
    for (const picture of pictures.values()) picture.close();
  }
}

// --- the check --------------------------------------------------------------------------------

async function check(settings) {
  say("Timing of this screen", "For a quarter of a minute the screen flashes grey and white. Do not take part if flashing pictures have ever made you ill.");
  await click("Measure");
  try {
    await openScreen();
    draw({}, settings);
    await screen_.measure();
    const before = await exchanges();
    await screen_.tick();
    screen_.restart();
    let start = screen_.last;
    for (let flip = 0; flip < CHECK_FLIPS; flip++) {
      draw({ white: flip % 2 === 0, cross: flip % 2 ? "#000" : "#fff" }, { photodiode: true });
      start = await screen_.until(start, CHECK_FRAMES * screen_.frame);
    }
    const frames = screen_.frames();
    const after = await exchanges();
    await closeScreen();
    const trip = (found) => Math.min(...found.map(([sent, , received]) => received - sent));
    const offset = (found) => {
      const [sent, server, received] = found.reduce((a, b) => (a[2] - a[0] <= b[2] - b[0] ? a : b));
      return server - (sent + received) / 2;
    };
    const measured = {
      refresh_hz: 1 / screen_.frame,
      ...frames,
      screen: `${canvas.width} x ${canvas.height}`,
      browser: navigator.userAgent,
      clock_round_trip_ms: 1000 * trip(before),
      clock_drift_ms: 1000 * (offset(after) - offset(before)),
    };
    send("checked", { measured });
    await receive();
    finished = true;
    const busy = frames.missed > 0.01 * frames.count;
    say(
      "Measured",
      `Refresh: ${measured.refresh_hz.toFixed(2)} Hz. Frames left out: ${frames.missed} of ${frames.count}. ` +
        `Jitter of a frame: half within ${frames.jitter_p50_ms.toFixed(2)} ms, 95 % within ${frames.jitter_p95_ms.toFixed(2)} ms, at most ${frames.jitter_max_ms.toFixed(2)} ms.\n` +
        (busy ? "More than one frame in a hundred was left out: close other programs and pages, and measure again.\n" : "") +
        "Not known: the lag between a frame and the light of the screen. A photodiode measures it.",
    );
    element("go").hidden = true;
  } catch (error) {
    await closeScreen();
    say("Not measured", `It stopped because ${error.message}.`);
    await click("Measure again");
    await check(settings);
  }
}

async function main() {
  const settings = await receive();
  if (settings.type === "error") {
    finished = true;
    say("Not here", settings.text);
    return;
  }
  if (settings.check) {
    await check(settings);
    return;
  }
  await consent(settings.consent);
  for (;;) {
    send("next");
    const block = await receive();
    if (block.type === "done") break;
    await runBlock(block, settings);
  }
  finished = true;
  element("go").hidden = true;
  say("Thank you", "The session is complete. You may close this page.");
}

main().catch((error) => say("Something went wrong", error.message));
