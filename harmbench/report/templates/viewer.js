"use strict";
// Source, reference, a method's output, its difference to the reference, and labels: linked volumes.
const viewer = {
  panels: [],
  cache: new Map(),
  plane: "axial",
  wanted: 0,
  subject: null,
  starting: null,
};

viewer.HEADER = 352;
viewer.DIFFERENCE = 0.2;
viewer.NAMES = ["source", "reference", "method", "difference", "labels"];

viewer.COLOURS = {
  signed: { R: [5, 67, 247, 214, 103], G: [48, 147, 247, 96, 0], B: [97, 195, 247, 77, 31],
    A: [255, 255, 255, 255, 255], I: [0, 64, 128, 192, 255] },
  // Nothing, CSF, GM, WM: as in the figures.
  tissues: { R: [0, 86, 240, 213], G: [0, 180, 228, 94], B: [0, 233, 66, 0], A: [0, 255, 255, 255], I: [0, 85, 170, 255] },
};

viewer.served = () => /^https?:$/.test(location.protocol);

viewer.hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl2"));

// Texts of a subject's volumes that the page carries.
viewer.embedded = (subject) => {
  const index = explorer.data.embedded.findIndex((one) => one.subject === subject);
  if (index < 0) return null;
  const key = `embedded ${index}`;
  if (!viewer.cache.has(key)) {
    viewer.cache.set(key, JSON.parse(document.getElementById(`volumes-${index}`).textContent));
  }
  return viewer.cache.get(key);
};

// Bytes of one volume, as an uncompressed NIfTI file; null where there is none.
viewer.fetch = async (subject, place, part) => {
  const key = JSON.stringify([subject, place, part]);
  if (!viewer.cache.has(key)) viewer.cache.set(key, await viewer.find(subject, place, part));
  return viewer.cache.get(key);
};

viewer.find = async (subject, place, part) => {
  if (viewer.served()) {
    const answer = await fetch(`/volume?${new URLSearchParams({ subject, part, ...place })}`);
    if (!answer.ok) return null;
    const stream = answer.body.pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }
  const own = viewer.embedded(subject);
  const text = place.side ? own?.scans[own.sessions[place.direction]?.[place.side]]
    : own?.outputs[place.direction]?.[place.method]?.[part];
  return text ? page.unpack(text) : null;
};

// Signed difference of two 8-bit volumes, as a NIfTI file with 16-bit values.
viewer.difference = (one, other) => {
  const [a, b] = [one, other].map((bytes) => new Uint8Array(bytes, viewer.HEADER));
  const made = new ArrayBuffer(viewer.HEADER + 2 * a.length);
  new Uint8Array(made).set(new Uint8Array(one, 0, viewer.HEADER));
  const header = new DataView(made);
  header.setInt16(70, 4, true);
  header.setInt16(72, 16, true);
  const values = new Int16Array(made, viewer.HEADER);
  values.forEach((_, place) => { values[place] = a[place] - b[place]; });
  return made;
};

viewer.start = async () => {
  await page.load("niivue");
  const options = { dragAndDropEnabled: false, loadingText: "", backColor: [0, 0, 0, 1], isResizeCanvas: true,
    crosshairColor: [0.91, 0.35, 0.05, 0.8], crosshairWidth: 0.6, logLevel: "error", isAntiAlias: false };
  for (const name of viewer.NAMES) {
    const canvas = document.getElementById(`view-${name}`);
    const shown = new niivue.Niivue(options);
    await shown.attachToCanvas(canvas, false);
    shown.addColormap("signed", viewer.COLOURS.signed);
    shown.addColormap("tissues", viewer.COLOURS.tissues);
    shown.setInterpolation(true);
    shown.onLocationChange = () => viewer.follow(shown);
    viewer.panels.push(shown);
  }
  viewer.setPlane(viewer.plane);
};

// Put all panels where one of them is.
viewer.follow = (leader) => {
  for (const shown of viewer.panels) {
    if (shown === leader) continue;
    shown.scene.crosshairPos = [...leader.scene.crosshairPos];
    shown.drawScene();
  }
  viewer.showSlice();
};

viewer.AXIS = { sagittal: 0, coronal: 1, axial: 2, all: 2 };

viewer.showSlice = () => {
  const first = viewer.panels.find((shown) => shown.volumes.length);
  if (!first) return;
  const axis = viewer.AXIS[viewer.plane];
  const count = first.volumes[0].dims[axis + 1];
  const slider = document.getElementById("view-slice");
  slider.max = count - 1;
  slider.value = Math.min(Math.floor(first.scene.crosshairPos[axis] * count), count - 1);
  document.getElementById("view-slice-text").textContent = `slice ${Number(slider.value) + 1} of ${count}`;
};

viewer.setSlice = (index) => {
  const slider = document.getElementById("view-slice");
  const axis = viewer.AXIS[viewer.plane];
  for (const shown of viewer.panels) {
    const place = [...shown.scene.crosshairPos];
    place[axis] = (Number(index) + 0.5) / (Number(slider.max) + 1);
    shown.scene.crosshairPos = place;
    shown.drawScene();
  }
  viewer.showSlice();
};

viewer.setPlane = (plane) => {
  viewer.plane = plane;
  document.getElementById("view-plane").value = plane;
  for (const shown of viewer.panels) {
    const kinds = { axial: shown.sliceTypeAxial, coronal: shown.sliceTypeCoronal,
      sagittal: shown.sliceTypeSagittal, all: shown.sliceTypeMultiplanar };
    shown.setSliceType(kinds[plane]);
  }
  viewer.showSlice();
};

viewer.put = async (shown, bytes, name, colours, low, high) => {
  while (shown.volumes.length) shown.removeVolumeByIndex(shown.volumes.length - 1);
  const list = [].concat(bytes ?? []);
  for (const one of list) await shown.loadFromArrayBuffer(one.slice(0), `${name}.nii`);
  if (list.length) {
    // A new colour map resets the limits: they come after it.
    shown.volumes[list.length - 1].colormap = colours;
    Object.assign(shown.volumes[list.length - 1], { cal_min: low, cal_max: high });
    if (list.length > 1) Object.assign(shown.volumes[0], { cal_min: 0, cal_max: 1 });
    shown.updateGLVolume();
  }
  shown.drawScene();
  shown.canvas.parentElement.classList.toggle("empty", !list.length);
};

// Show what the explorer has chosen.
viewer.show = async () => {
  const turn = ++viewer.wanted;
  const { subject, method, direction } = explorer.state;
  // One subject's volumes at a time stay in memory.
  if (viewer.subject !== subject) viewer.cache.clear();
  viewer.subject = subject;
  const way = explorer.by(explorer.data.directions, direction);
  const output = { method, direction };
  const [source, reference, harmonized, labels] = await Promise.all([
    viewer.fetch(subject, { direction, side: "source" }, "image"),
    viewer.fetch(subject, { direction, side: "target" }, "image"),
    viewer.fetch(subject, output, "image"),
    viewer.fetch(subject, output, "labels"),
  ]);
  const found = Boolean(source || reference || harmonized);
  viewer.say(found ? "" : viewer.served() ? "This run has no volumes of this subject." : explorer.data.elsewhere);
  document.getElementById("viewer-panels").hidden = !found;
  if (!found || turn !== viewer.wanted) return;
  await (viewer.starting ??= viewer.start());
  if (turn !== viewer.wanted) return;
  const title = explorer.by(explorer.data.methods, method)?.title ?? "";
  const names = { source: `Source ${way.source}`, reference: `Reference ${way.target}`, method: title,
    difference: `${title} − reference`, labels: `Labels of ${title}` };
  for (const [name, text] of Object.entries(names)) document.getElementById(`name-${name}`).textContent = text;
  const change = harmonized && reference ? viewer.difference(harmonized, reference) : null;
  const [a, b, c, d, e] = viewer.panels;
  await viewer.put(a, source, "source", "gray", 0, 1);
  await viewer.put(b, reference, "reference", "gray", 0, 1);
  await viewer.put(c, harmonized, "method", "gray", 0, 1);
  await viewer.put(d, change, "difference", "signed", -viewer.DIFFERENCE, viewer.DIFFERENCE);
  await viewer.put(e, labels && harmonized ? [harmonized, labels] : labels, "labels", "tissues", 0, 3);
  const own = explorer.data.embedded.find((one) => one.subject === subject);
  viewer.say(!viewer.served() && own ? own.note : "");
  viewer.setPlane(viewer.plane);
  document.getElementById("viewer").dataset.shown = `${subject} ${method} ${direction}`;
};

viewer.say = (text) => { document.getElementById("viewer-note").textContent = text; };

viewer.keys = (event) => {
  if (/INPUT|SELECT/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  const planes = { a: "axial", c: "coronal", g: "sagittal", p: "all" };
  const slider = document.getElementById("view-slice");
  const moves = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
  if (event.key in planes) viewer.setPlane(planes[event.key]);
  else if (event.key in moves) viewer.setSlice(Math.min(Math.max(Number(slider.value) + moves[event.key], 0), Number(slider.max)));
  else return;
  event.preventDefault();
};

addEventListener("DOMContentLoaded", () => {
  const whole = document.getElementById("viewer");
  if (!viewer.hasWebGL()) {
    viewer.say("This browser has no WebGL 2, which the viewer needs. The figures below show slices.");
    document.getElementById("viewer-panels").hidden = true;
    whole.dataset.shown = "no WebGL";
    return;
  }
  document.getElementById("view-slice").addEventListener("input", (event) => viewer.setSlice(event.target.value));
  document.getElementById("view-plane").addEventListener("change", (event) => viewer.setPlane(event.target.value));
  document.getElementById("explore").addEventListener("keydown", viewer.keys);
  const begin = () => {
    explorer.listeners.push((changes) => {
      if ("subject" in changes || "method" in changes || "direction" in changes) viewer.show();
    });
    if (explorer.state.subject) viewer.show();
  };
  // Five drawing surfaces cost time: they are made when somebody looks.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin();
  }, { rootMargin: "200px" }).observe(whole);
});
