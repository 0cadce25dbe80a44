// Latent space: UMAPs of a sample of the particles, a selection that is the same in all rounds, and principal components.
import { FLAT_HELP, HELP, camera, control, reset } from './camera.js';
import { unpack, unpackNames, unpackWords } from './data.js';
import { button, choice, count, element, mount, renew, roundName, slider, svg } from './dom.js';
import { colourOf, inOrder, lapOf, markerOf, nameOf, rgbOf, signOf } from './labels.js';

// Of the canvas's sides, that the points' extent takes; a share of them at each end, far from all others, may lie beyond
const FILL = 0.92;
const BEYOND = 0.001;
// Width by height of the plot: in three dimensions, and the least and the most in two, where it has the points' shape
const [SHAPE, TALLEST, WIDEST] = [1.25, 0.8, 2.5];
const UNSELECTED = [226, 226, 226];
const SELECTION = 'selection.csv';
const LASSO_HELP = 'Lasso: draw around particles, or move it with the arrow keys (by less with shift), set corners with '
  + 'Enter and close with the space bar; Escape clears.';

export async function showLatent(section, points) {
  if (!points.rounds.length) return;
  const names = await unpackNames(points.names);
  const rounds = await Promise.all(points.rounds.map(async (round) => ({
    ...round,
    labels: new Int16Array(await unpack(round.labels)).map((byte) => byte - 1),
    umap2: centred(await unpackWords(round.umap2), round.steps.umap2, 2),
    umap3: centred(await unpackWords(round.umap3), round.steps.umap3, 3),
  })));
  const total = names.length;
  const selecting = points.select;
  const selected = new Uint8Array(total);
  const state = { round: rounds.length - 1, dimensions: 2, lasso: false };
  const view = camera();
  const screen = { x: new Float32Array(total), y: new Float32Array(total) };
  let outline = null;
  // where the lasso is that keys move, and the corners that they set
  let cursor = null;
  let corners = [];
  let centres = [];
  let extent = null;

  const canvas = element('canvas', { className: 'dr-points' });
  const overlay = element('canvas', { className: 'dr-overlay' });
  const tags = element('div', { className: 'dr-tags dr-overlay', ariaHidden: 'true' });
  const plot = element('div', { className: 'dr-plot', tabIndex: 0, role: 'application' }, canvas, tags, overlay);
  const help = element('p', { className: 'dr-help' });
  const lasso = button('Lasso', () => {
    state.lasso = !state.lasso;
    lasso.setAttribute('aria-pressed', state.lasso);
    plot.classList.toggle('dr-lasso', state.lasso);
    outline = null;
    corners = [];
    drawOutline();
  }, { 'aria-pressed': 'false' });
  const table = element('div', { className: 'dr-counts' });
  const chosen = element('p', { className: 'dr-chosen', role: 'status' });
  const download = button('Download selection (CSV)', save);
  const command = element('code', { className: 'words' }, ...selecting.split(' ').flatMap((word) => [element('span', { textContent: word }), ' ']));
  const copy = element('button', { type: 'button', textContent: 'Copy', ariaLabel: 'Copy the command', dataset: { copy: selecting } });
  const pca = element('div', { className: 'dr-pca' });
  const shown = total < points.particles
    ? `A sample of ${count(total)} of ${count(points.particles)} particles, small clusters whole; a selection is of these.`
    : `All ${count(total)} particles.`;

  mount(section, element('div', { className: 'dr-tool' },
    element('div', { className: 'dr-controls' },
      slider('Round', {
        min: 0, max: rounds.length - 1, step: 1, value: state.round, say: (i) => roundName(rounds[i].number),
        change(value) {
          state.round = value;
          showRound();
        },
      }),
      choice('UMAP in', [['2', 'two dimensions'], ['3', 'three dimensions']], (value) => {
        state.dimensions = Number(value);
        reset(view);
        showRound();
      }),
      lasso,
      button('Clear selection', () => select(() => false)),
    ),
    element('div', { className: 'dr-columns' },
      element('div', {}, plot, help, element('p', { className: 'dr-help', textContent: shown })),
      element('div', {}, chosen, table, element('div', { className: 'dr-controls' }, download),
        element('p', { className: 'dr-command' }, command, ' ', copy),
        element('p', { className: 'dr-help', textContent: `Move ${SELECTION} into this page’s folder and type the command there. As --labels of a new run the selection is its cluster 1, and all other particles are cluster 2.` })),
    ),
    element('h3', { textContent: 'Principal components of all particles' }), pca,
  ));
  control(plot, view, { flat: () => state.dimensions === 2, busy: () => state.lasso, reach: () => 2 / (FILL * side()), changed: draw });
  plot.addEventListener('pointerdown', (event) => {
    if (!state.lasso || event.button) return;
    plot.setPointerCapture(event.pointerId);
    outline = [placeOf(event)];
  });
  plot.addEventListener('pointermove', (event) => {
    if (!outline) return;
    outline.push(placeOf(event));
    drawOutline();
  });
  plot.addEventListener('pointerup', () => {
    if (!outline) return;
    const polygon = outline;
    outline = null;
    drawOutline();
    if (polygon.length > 2) select((i) => isInside(polygon, screen.x[i], screen.y[i]));
  });
  plot.addEventListener('pointercancel', () => {
    outline = null;
    drawOutline();
  });
  plot.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      outline = cursor = null;
      corners = [];
      drawOutline();
      select(() => false);
    } else if (state.lasso && event.target === plot && !event.ctrlKey && !event.altKey && !event.metaKey) drawByKeys(event);
  });
  new ResizeObserver(draw).observe(plot);
  showRound();
  select(() => false);

  // Arrows move the lasso, Enter sets a corner, the space bar closes what is drawn.
  function drawByKeys(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way && event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    const size = [plot.clientWidth, plot.clientHeight];
    cursor ??= size.map((length) => length / 2);
    const step = (event.shiftKey ? 0.01 : 0.05) * side();
    if (way) cursor = cursor.map((place, axis) => Math.min(Math.max(place + step * way[axis], 0), size[axis]));
    else if (event.key === 'Enter') corners = [...corners, cursor];
    else {
      const polygon = corners;
      corners = [];
      if (polygon.length > 2) select((i) => isInside(polygon, screen.x[i], screen.y[i]));
    }
    drawOutline();
    if (corners.length) chosen.textContent = `The lasso has ${corners.length} corners.`;
  }

  function placeOf(event) {
    const { left, top } = plot.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  function side() {
    return Math.min(plot.clientWidth, plot.clientHeight) || 1;
  }

  function showRound() {
    const kind = state.dimensions === 2 ? FLAT_HELP : HELP;
    help.textContent = `${kind} ${LASSO_HELP}`;
    plot.ariaLabel = `UMAP of ${roundName(rounds[state.round].number)}. ${kind} ${LASSO_HELP}`;
    const source = rounds[state.round][`umap${state.dimensions}`];
    centres = centresOf(rounds[state.round].labels, source);
    extent = extentOf(source, total);
    const [across, up] = extent.reaches;
    plot.style.aspectRatio = state.dimensions === 3 ? SHAPE : Math.min(Math.max(across / up, TALLEST), WIDEST);
    showPca(pca, rounds[state.round]);
    showCounts();
    draw();
  }

  function select(rule) {
    for (let i = 0; i < total; i++) selected[i] = rule(i);
    const number = selected.reduce((sum, one) => sum + one, 0);
    chosen.textContent = number ? `${count(number)} particles are selected.` : 'No particle is selected.';
    download.disabled = !number;
    plot.dataset.selected = number;
    showCounts();
    draw();
  }

  // Clusters × rounds: of the selection, in the round that is shown with a button that selects the cluster
  function showCounts() {
    const anything = selected.some(Boolean);
    const labels = [...new Set(rounds.flatMap((round) => [...new Set(round.labels)]))].sort(inOrder);
    const counts = rounds.map((round) => {
      const found = new Map();
      round.labels.forEach((label, i) => (!anything || selected[i]) && found.set(label, (found.get(label) ?? 0) + 1));
      return found;
    });
    const head = element('tr', {}, element('th', { scope: 'col', textContent: anything ? 'selected' : 'shown' }),
      ...rounds.map((round, i) => element('th', { scope: 'col', textContent: roundName(round.number), className: i === state.round ? 'dr-now' : '' })), element('td'));
    const now = rounds[state.round].labels;
    const rows = labels.map((label) => element('tr', { dataset: { label } },
      element('th', { scope: 'row' }, element('span', { className: 'dr-swatch', style: { color: colourOf(label) }, textContent: markerOf(label) }), ` ${nameOf(label)}`),
      ...counts.map((found, i) => element('td', { textContent: count(found.get(label) ?? 0), className: i === state.round ? 'dr-now' : '', dataset: { of: roundName(rounds[i].number) } })),
      element('td', {}, button('select', () => select((i) => now[i] === label), { ariaLabel: `Select ${nameOf(label)}`, dataset: { key: label } }))));
    renew(table, element('table', rounds.length > 10 ? { className: 'long' } : {}, element('thead', {}, head), element('tbody', {}, ...rows)));
  }

  function draw() {
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [Math.round(plot.clientWidth * ratio), Math.round(plot.clientHeight * ratio)];
    if (!width || !height) return;
    for (const one of [canvas, overlay]) if (one.width !== width || one.height !== height) Object.assign(one, { width, height });
    project();
    const { labels } = rounds[state.round];
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const size = Math.min(Math.max(Math.round((1.6 * ratio * Math.min(view.zoom, 4) * 300) / Math.sqrt(total) / 2), 2 * ratio), 5 * ratio);
    const stamps = new Map([...new Set(labels)].map((label) => [label, stamp(lapOf(label), size)]));
    const colours = new Map([...new Set(labels)].map((label) => [label, packedColour(rgbOf(colourOf(label)))]));
    const pale = packedColour(UNSELECTED);
    const anything = selected.some(Boolean);
    // Whoever is in no cluster lies behind, the selection before all others
    const layers = anything ? [(i) => !selected[i], (i) => selected[i]] : [(i) => labels[i] <= 0, (i) => labels[i] > 0];
    for (const [order, layer] of layers.entries()) {
      for (let i = 0; i < total; i++) {
        if (!layer(i)) continue;
        const colour = anything && !order ? pale : colours.get(labels[i]);
        const px = Math.round(screen.x[i] * ratio);
        const py = Math.round(screen.y[i] * ratio);
        const offsets = stamps.get(labels[i]);
        for (let k = 0; k < offsets.length; k += 2) {
          const x = px + offsets[k];
          const y = py + offsets[k + 1];
          if (x >= 0 && y >= 0 && x < width && y < height) pixels[y * width + x] = colour;
        }
      }
    }
    canvas.getContext('2d').putImageData(image, 0, 0);
  }

  // Particles, and the numbers of the clusters, onto the plot, in pixels of the page
  function project() {
    const source = rounds[state.round][`umap${state.dimensions}`];
    const deep = state.dimensions === 3;
    const unit = (FILL * side() * view.zoom) / 2;
    const { middle, reaches } = extent;
    // to the farthest corner, however it is turned; distances mean the same along all axes
    const spread = deep ? unit / Math.hypot(...reaches)
      : (Math.min(plot.clientWidth / reaches[0], plot.clientHeight / reaches[1]) * FILL * view.zoom) / 2;
    const [a, b, , c, d, , e, f] = deep ? view.turn : [1, 0, 0, 0, 1, 0, 0, 0];
    const left = plot.clientWidth / 2 + unit * view.shift[0];
    const top = plot.clientHeight / 2 - unit * view.shift[1];
    const [midX, midY, midZ = 0] = middle;
    const across = (x, y, z) => left + spread * (a * (x - midX) + c * (y - midY) + e * (z - midZ));
    const down = (x, y, z) => top - spread * (b * (x - midX) + d * (y - midY) + f * (z - midZ));
    for (let i = 0; i < total; i++) {
      const [x, y, z] = [source[i], source[total + i], deep ? source[2 * total + i] : 0];
      screen.x[i] = across(x, y, z);
      screen.y[i] = down(x, y, z);
    }
    tags.replaceChildren(...centres.map(([label, x, y, z = 0]) => {
      // in shares, as paper is narrower
      const style = { left: `${(100 * across(x, y, z)) / plot.clientWidth}%`, top: `${(100 * down(x, y, z)) / plot.clientHeight}%` };
      return element('span', { textContent: signOf(label), style });
    }));
  }

  function drawOutline() {
    const context = overlay.getContext('2d');
    const ratio = overlay.width / plot.clientWidth;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, plot.clientWidth, plot.clientHeight);
    if (cursor && state.lasso) cross(context, ...cursor);
    const drawn = outline ?? corners;
    if (!drawn.length) return;
    context.beginPath();
    for (const place of drawn) context.lineTo(...place);
    context.closePath();
    context.setLineDash([5, 4]);
    context.stroke();
    context.fillStyle = 'rgb(0 0 0 / 8%)';
    context.fill();
  }

  function save() {
    const lines = ['rlnImageName', ...names.filter((_, i) => selected[i]).map(field)];
    const link = element('a', { download: SELECTION, href: URL.createObjectURL(new Blob([`${lines.join('\n')}\n`], { type: 'text/csv' })) });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

function cross(context, x, y) {
  context.setLineDash([]);
  context.beginPath();
  for (const [dx, dy] of [[8, 0], [0, 8]]) {
    context.moveTo(x - dx, y - dy);
    context.lineTo(x + dx, y + dy);
  }
  context.stroke();
}

// As csv has it where a name has a comma or quotation marks
const field = (name) => (/[",]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);

// From −1 to 1 along the widest axis
function centred(words, steps) {
  return new Float32Array(words).map((word) => (2 * word) / steps - 1);
}

const packedColour = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;

// Middle and half width along each axis of the points
function extentOf(source, total) {
  const out = Math.floor(BEYOND * total);
  const axes = Array.from({ length: source.length / total }, (_, axis) => source.slice(axis * total, (axis + 1) * total).sort());
  const ends = axes.map((values) => [values[out], values[total - 1 - out]]);
  return { middle: ends.map(([low, high]) => (low + high) / 2), reaches: ends.map(([low, high]) => Math.max((high - low) / 2, 1e-6)) };
}

// Pixels of a marker, dx and dy one after the other: disc, square, triangle, diamond
function stamp(lap, size) {
  const found = [];
  const reach = Math.max(size / 2, lap ? 1.5 : 1);
  const rule = [
    (x, y) => x * x + y * y <= reach * reach + 0.3,
    () => true,
    (x, y) => Math.abs(x) <= (y + reach) / 2,
    (x, y) => Math.abs(x) + Math.abs(y) <= reach,
  ][lap];
  const far = Math.floor(reach);
  for (let y = -far; y <= far; y++) for (let x = -far; x <= far; x++) if (rule(x, y)) found.push(x, y);
  return found;
}

// [label, its particles' median along each axis] of the clusters
function centresOf(labels, source) {
  const rows = new Map();
  labels.forEach((label, i) => label > 0 && (rows.get(label) ?? rows.set(label, []).get(label)).push(i));
  const axes = Array.from({ length: source.length / labels.length }, (_, axis) => axis * labels.length);
  const median = (values) => values.sort()[values.length >> 1];
  return [...rows].map(([label, mine]) => [label, ...axes.map((first) => median(Float32Array.from(mine, (i) => source[first + i])))]);
}

function isInside(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[ax, ay], [bx, by]] = [polygon[i], polygon[j]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

// Hexagons, darker where there are more particles, and the points of which maps were decoded
function showPca(place, { number, pca }) {
  if (!pca) {
    place.replaceChildren(element('p', { textContent: 'Latent space has one dimension.' }));
    return;
  }
  const reach = (axis) => [...pca.cells.map((cell) => cell[axis]), ...pca.points.map((point) => point[axis])];
  const [xs, ys] = [reach(0), reach(1)];
  const pad = 2 * pca.width;
  const [left, right, low, high] = [Math.min(...xs) - pad, Math.max(...xs) + pad, Math.min(...ys) - pad, Math.max(...ys) + pad];
  const scale = 600 / (right - left);
  const at = (x, y) => [(x - left) * scale, (high - y) * scale];
  const most = Math.log1p(Math.max(...pca.cells.map((cell) => cell[2])));
  const corners = [0, 1, 2, 3, 4, 5].map((i) => {
    const angle = ((i + 0.5) * Math.PI) / 3;
    const size = (pca.width * scale) / Math.sqrt(3);
    return [size * Math.cos(angle), size * Math.sin(angle)];
  });
  const hexagons = pca.cells.map(([x, y, particles]) => {
    const [px, py] = at(x, y);
    const shape = corners.map(([dx, dy]) => `${(px + dx).toFixed(1)},${(py + dy).toFixed(1)}`).join(' ');
    const share = Math.log1p(particles) / most;
    return svg('polygon', { points: shape, fill: `hsl(215 ${20 + 40 * share}% ${92 - 67 * share}%)` }, svg('title', {}, `${count(particles)} particles`));
  });
  const marks = pca.points.map(([x, y], i) => {
    const [px, py] = at(x, y);
    return svg('g', {}, svg('circle', { cx: px, cy: py, r: 9, fill: '#FFFFFF', stroke: '#000000' }),
      svg('text', { x: px, y: py + 4, 'text-anchor': 'middle', 'font-size': 12, 'font-weight': 'bold' }, String(i + 1)));
  });
  const height = (high - low) * scale;
  const share = (i) => `PC${i + 1}${pca.explained[i] === undefined ? '' : ` (${(100 * pca.explained[i]).toFixed(1)} % of the variance)`}`;
  const drawing = svg('svg', { viewBox: `-24 0 624 ${height + 24}`, role: 'img', 'aria-label': `Principal components of ${roundName(number)}` },
    ...hexagons, ...marks,
    svg('text', { x: 300, y: height + 18, 'text-anchor': 'middle', 'font-size': 14 }, share(0)),
    svg('text', { x: -height / 2, y: -8, transform: 'rotate(-90)', 'text-anchor': 'middle', 'font-size': 14 }, share(1)));
  const explained = pca.explained.map((value, i) => `PC${i + 1} ${(100 * value).toFixed(1)} %`).join(', ');
  const outside = pca.outside ? ` ${count(pca.outside)} particles lie beyond what is drawn.` : '';
  place.replaceChildren(drawing, element('p', { className: 'dr-help', textContent:
    `Variance explained: ${explained}. 1–${pca.points.length}: the maps along PC1, of the film above.${outside}` }));
}
