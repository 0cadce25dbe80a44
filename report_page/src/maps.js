// Maps in 3-D: surfaces of all clusters side by side, looked at together; slices where there is no WebGL.
import { HELP, camera, control } from './camera.js';
import { unpack } from './data.js';
import { button, choice, count, element, mount, renew, roundName, slider } from './dom.js';
import { painter } from './gl.js';
import { nameOf, rgbOf } from './labels.js';
import { halved, normals, surfaceNet, valueAt } from './surface.js';

// Pixels along a side that any card draws
const LONGEST = 4096;
// More maps than these are shown when asked for
const FIRST_SHOWN = 8;
// From blue over white to red, and from dark blue to yellow: safe for the colour-blind
const RAMPS = {
  difference: ['#2166AC', '#67A9CF', '#F7F7F7', '#EF8A62', '#B2182B'],
  resolution: ['#FDE725', '#5EC962', '#21918C', '#3B528B', '#440154'],
};
const LEGENDS = {
  cluster: () => 'Colours are those of the clusters. A contour is a value of the map’s own, as ChimeraX’s volume level.',
  difference: () => 'Blue: less density than the consensus; white: as much; red: more, by the consensus’s contour or beyond.',
  resolution: ({ low, high }) => `Local resolution from ${low.toFixed(1)} Å (yellow) to ${high.toFixed(1)} Å (violet), the same for all maps; grey where it was not computed.`,
};
const FRAME_TIME = 500;
const ABOUT_FILM = 'What changes most in latent space: maps that the latent model draws at six points along its first '
  + 'principal component, from the 5th to the 95th percentile of the particles (1 to 6 in the picture of principal '
  + 'components below), all at one contour. No half maps stand behind them, so they have no resolution: look at what '
  + 'moves or comes and goes, and measure in the clusters’ maps.';

const ABOUT_MOTION = 'How particles move: half maps of those that show each place of the motion, from the 5th to the 95th '
  + 'percentile of the particles, both filtered by their FSC, all at one contour. A map shows a stretch of the motion, of '
  + 'which its blur is the standard deviation in percent of the whole: that the FSC cannot see.';

export async function showMaps(section, volumes) {
  const rounds = volumes.rounds.filter((round) => round.maps.length);
  if (!rounds.length) return;
  const canvas = element('canvas', { className: 'dr-canvas' });
  const paint = painter(canvas);
  const state = { round: rounds.length - 1, factor: 1, slice: 0.5, colours: 'cluster', slices: !paint };
  const view = camera();
  const consensus = rounds.find((round) => round.number === 0);
  const hidden = new Set(rounds.at(-1).maps.slice(FIRST_SHOWN).map((map) => map.label));
  let cells = [];
  let work = 0;
  let playing = null;

  const grid = element('div', { className: 'dr-grid', tabIndex: 0, role: 'application', ariaLabel: `Maps. ${HELP}` });
  const chips = element('div', { className: 'dr-controls', role: 'group', ariaLabel: 'Maps that are shown' });
  const legend = element('p', { className: 'dr-legend' });
  const scales = scalesOf(rounds.flatMap((round) => round.maps));
  const kinds = ['cluster', ...new Set(rounds.flatMap((round) => round.maps.flatMap((map) => Object.keys(map.colours))))];
  const sliceControl = slider('Slice', {
    min: 0, max: 1, step: 0.01, value: 0.5, say: (value) => `${Math.round(100 * value)} %`,
    change(value) {
      state.slice = value;
      drawSlices();
    },
  });
  const show = choice('Show', [['surfaces', 'surfaces'], ['slices', 'slices']], (kind) => {
    state.slices = kind === 'slices';
    layOut();
  });
  show.hidden = !paint;
  const controls = element('div', { className: 'dr-controls' },
    slider('Round', {
      min: 0, max: rounds.length - 1, step: 1, value: state.round, say: (i) => roundName(rounds[i].number),
      change(value, final) {
        if (value === state.round && final) return;
        state.round = value;
        layOut();
      },
    }),
    slider('Contour', {
      min: 0.25, max: 3, step: 0.05, value: 1, say: (value) => `${value.toFixed(2)} × suggested`,
      change(value, final) {
        state.factor = value;
        contour(final);
      },
    }),
    choice('Colour by', kinds.map((kind) => [kind, { cluster: 'cluster', difference: 'difference from the consensus', resolution: 'local resolution' }[kind]]), (kind) => {
      state.colours = kind;
      recolour();
    }),
    show,
    sliceControl,
  );
  const viewer = element('div', { className: 'dr-viewer', dataset: { webgl: paint ? 'yes' : 'no' } }, canvas, grid);
  mount(section, element('div', { className: 'dr-tool' }, controls, chips, viewer, legend, element('p', { className: 'dr-help', textContent: HELP })));
  control(grid, view, { busy: () => state.slices, reach: () => (2 * radius()) / cellSide(), changed: draw });
  // the machine may take the card away, after sleep for instance
  canvas.addEventListener('webglcontextlost', withoutSurfaces);
  new ResizeObserver(() => (state.slices ? drawSlices() : draw())).observe(grid);
  addEventListener('beforeprint', copyForPaper);
  await layOut();

  function withoutSurfaces() {
    state.slices = true;
    show.hidden = true;
    return layOut();
  }

  // Of a card or driver that fails, slices stand in the surfaces' place.
  async function orSlices(drawn) {
    try {
      await drawn;
    } catch (error) {
      if (state.slices) throw error;
      console.warn(error);
      await withoutSurfaces();
    }
  }

  function radius() {
    return Math.max(...cells.map((cell) => cell.radius ?? 0), 1e-3);
  }

  function cellSide() {
    const { width, height } = cells[0].window.getBoundingClientRect();
    return Math.min(width, height) || 1;
  }

  // The consensus stands first, to compare with.
  async function layOut() {
    const round = rounds[state.round];
    const maps = [...(consensus && round !== consensus ? consensus.maps : []), ...round.maps];
    for (const cell of cells) clear(cell);
    stop();
    cells = maps.filter((map) => !hidden.has(map.label)).map((map) => makeCell([map], map.label ? nameOf(map.label) : 'consensus', map.colour));
    if (round.motion.length) cells.push(filmCell(round.motion, 'along the motion', ABOUT_MOTION, aboutPoint));
    if (round.film.length) cells.push(filmCell(round.film, 'along PC1', ABOUT_FILM, () => round.film_doubt));
    grid.replaceChildren(...cells.map((cell) => cell.figure));
    showChips(maps);
    canvas.hidden = state.slices;
    sliceControl.hidden = !state.slices;
    await contour(true);
  }

  function showChips(maps) {
    renew(chips, ...maps.map((map) => {
      const name = map.label ? nameOf(map.label) : 'consensus';
      const box = element('input', { type: 'checkbox', checked: !hidden.has(map.label), dataset: { key: map.label } });
      box.addEventListener('change', () => {
        if (box.checked) hidden.delete(map.label);
        else hidden.add(map.label);
        layOut();
      });
      return element('label', { className: 'dr-chip', style: { borderColor: map.colour } }, box, name);
    }));
    chips.hidden = maps.length < 2;
  }

  function makeCell(frames, name, colour) {
    const paper = element('canvas', { className: 'dr-paper' });
    const window = element('div', { className: 'dr-window' }, paper);
    const caption = element('figcaption', {}, element('b', { textContent: name }), ' ', element('span'));
    const figure = element('figure', { className: 'dr-cell', dataset: { map: name }, style: { borderTopColor: colour } }, window, caption);
    return { frames, frame: 0, name, colour, window, paper, figure, said: caption.lastChild, meshes: frames.map(() => null) };
  }

  function filmCell(frames, name, about, aboutFrame) {
    const cell = makeCell(frames, name, '#555555');
    const said = element('output', { className: 'dr-help', textContent: aboutFrame(frames[0]) });
    cell.film = slider('', {
      min: 1, max: frames.length, step: 1, value: 1, say: (frame) => `${frame} of ${frames.length}`,
      change(frame) {
        cell.frame = frame - 1;
        state.slices ? drawSlices() : orSlices(drawFrame(cell));
      },
    });
    cell.tell = () => { said.textContent = aboutFrame(frames[cell.frame]); };
    const input = cell.film.querySelector('input');
    input.ariaLabel = `Map ${name}`;
    const play = button('Play', () => {
      const mine = playing?.play === play;
      stop();
      if (!mine) start(play, input);
    });
    cell.figure.classList.add('dr-film');
    cell.figure.append(element('div', { className: 'dr-controls' }, play, cell.film, said),
      element('p', { className: 'dr-help', textContent: about }));
    return cell;
  }

  function start(play, input) {
    play.textContent = 'Stop';
    const timer = setInterval(() => {
      input.value = (Number(input.value) % Number(input.max)) + 1;
      input.dispatchEvent(new Event('input'));
    }, FRAME_TIME);
    playing = { timer, play };
  }

  function stop() {
    if (!playing) return;
    clearInterval(playing.timer);
    playing.play.textContent = 'Play';
    playing = null;
  }

  // Meshes of a cell, all but one
  function clear(cell, kept = -1) {
    cell.meshes.forEach((mesh, frame) => mesh && frame !== kept && paint.free(mesh.uploaded));
    cell.meshes = cell.meshes.map((mesh, frame) => (frame === kept ? mesh : null));
  }

  // Of what is seen coarsely at once, then, when the slider rests, of each map as finely as it is known
  async function contour(final) {
    const mine = ++work;
    if (state.slices) {
      await drawSlices();
      return;
    }
    for (const cell of cells) clear(cell, cell.frame);
    await orSlices(buildAll(mine, false));
    if (final && mine === work) orSlices(buildAll(mine, true).then(() => mine === work && showOnCards()));
  }

  async function buildAll(mine, fine) {
    for (const cell of cells) {
      for (const [frame, volume] of cell.frames.entries()) {
        if (fine ? cell.meshes[frame] && volume.box < 2 * SMALL : frame !== cell.frame) continue;
        await ready(volume);
        // lets the page answer in between
        if (fine) await new Promise((done) => setTimeout(done));
        if (mine !== work) return;
        build(cell, frame, fine);
        if (fine) draw();
      }
    }
    draw();
    showLegend();
  }

  // A small picture of each cluster's surface, where the page has a place for it
  function showOnCards() {
    for (const cell of cells) {
      const card = document.querySelector(`canvas.surface[data-cluster="${cell.frames[0].name}"]`);
      if (card?.hidden) copy(cell, Object.assign(card, { hidden: false }), 192);
    }
  }

  // Of what one canvas shows of all maps, a cell's part
  function copy(cell, target, side) {
    const [whole, place] = [grid, cell.window].map((one) => one.getBoundingClientRect());
    const ratio = canvas.width / whole.width;
    const at = [place.left - whole.left, place.top - whole.top, place.width, place.height].map((value) => value * ratio);
    Object.assign(target, { width: side, height: side });
    target.getContext('2d').drawImage(canvas, ...at, 0, 0, side, side);
  }

  // Paper has other places for the cells than the canvas that lies over them on the screen
  function copyForPaper() {
    if (state.slices) return;
    draw();
    for (const cell of cells) copy(cell, cell.paper, 480);
  }

  function build(cell, frame, fine) {
    const volume = cell.frames[frame];
    const coarse = !fine && volume.box >= 2 * SMALL;
    const [values, box] = coarse ? [volume.coarse, Math.floor(volume.box / 2)] : [volume.values, volume.box];
    const { positions, triangles } = surfaceNet(values, box, byteOf(volume, state.factor * volume.contour));
    const facing = normals(values, box, positions);
    const voxel = (volume.voxel * volume.box) / box;
    let most = 0;
    for (let i = 0; i < positions.length; i++) positions[i] *= voxel;
    for (let i = 0; i < positions.length; i += 3) {
      most = Math.max(most, Math.hypot(positions[i], positions[i + 1], positions[i + 2]));
    }
    cell.radius ??= Math.max(most, voxel) * 1.05;
    if (cell.meshes[frame]) paint.free(cell.meshes[frame].uploaded);
    const uploaded = paint.upload({ positions, normals: facing, triangles, colours: coloursOf(cell, volume, positions) });
    cell.meshes[frame] = { positions, uploaded };
    cell.figure.dataset.triangles = triangles.length / 3;
    cell.figure.dataset.fine = String(!coarse);
    say(cell, volume);
  }

  // A film's frame, which is not made before it is shown or there is time
  async function drawFrame(cell) {
    const { frame } = cell;
    const mine = work;
    await ready(cell.frames[frame]);
    if (mine !== work) return;
    if (!cell.meshes[frame]) build(cell, frame, false);
    cell.tell();
    draw();
  }

  function say(cell, volume) {
    cell.said.textContent = `contour ${(state.factor * volume.contour).toPrecision(3)}`;
  }

  function coloursOf(cell, volume, positions) {
    const colours = new Uint8Array(positions.length);
    const by = volume.colours?.[state.colours];
    const scale = scales[state.colours];
    const plain = rgbOf(by ? '#FFFFFF' : state.colours === 'cluster' && !cell.film ? cell.colour : '#9A9A9A').map((v) => 40 + 0.84 * v);
    for (let i = 0; i < positions.length; i += 3) {
      if (!by) colours.set(plain, i);
      else {
        const value = valueAt(by.values, by.box, positions[i] / by.voxel, positions[i + 1] / by.voxel, positions[i + 2] / by.voxel);
        const share = (by.low + (value / 255) * (by.high - by.low) - scale.low) / (scale.high - scale.low);
        colours.set(RAMP_COLOURS[state.colours][Math.round(255 * Math.min(Math.max(share, 0), 1))], i);
      }
    }
    return colours;
  }

  function recolour() {
    for (const cell of cells) {
      cell.meshes.forEach((mesh, frame) => {
        if (mesh) paint.recolour(mesh.uploaded, coloursOf(cell, cell.frames[frame], mesh.positions));
      });
    }
    draw();
    showLegend();
  }

  function showLegend() {
    legend.textContent = LEGENDS[state.colours](scales[state.colours]);
  }

  function draw() {
    const made = cells.filter((cell) => cell.meshes[cell.frame]);
    if (state.slices) return;
    if (!made.length) {
      paint.clear();
      return;
    }
    const whole = grid.getBoundingClientRect();
    const ratio = Math.min(devicePixelRatio, 2, LONGEST / Math.max(whole.width, whole.height));
    const [width, height] = [Math.round(whole.width * ratio), Math.round(whole.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const views = made.map((cell) => {
      const place = cell.window.getBoundingClientRect();
      const at = { left: (place.left - whole.left) * ratio, bottom: (whole.bottom - place.bottom) * ratio };
      return [cell.meshes[cell.frame].uploaded, { ...at, width: place.width * ratio, height: place.height * ratio }];
    });
    const reach = radius();
    paint.draw(views, { turn: view.turn, shift: view.shift, radius: reach / view.zoom, depth: 2 * reach });
  }

  async function drawSlices() {
    const mine = ++work;
    for (const cell of cells) {
      const volume = cell.frames[cell.frame];
      await ready(volume);
      if (mine !== work) return;
      cell.window.replaceChildren(...slicesOf(volume, state.slice, byteOf(volume, state.factor * volume.contour), cell.name));
      say(cell, volume);
      cell.tell?.();
    }
    const why = paint ? '' : ' This browser has no WebGL 2, which surfaces need.';
    legend.textContent = `Slices across x, y and z; what is within the contour is tinted.${why}`;
  }
}

// Maps that have at least twice this many voxels a side are shown coarsely first.
const SMALL = 48;
const RAMP_COLOURS = Object.fromEntries(Object.entries(RAMPS).map(([kind, stops]) => [kind, ramp(stops.map(rgbOf))]));

// What the ends of each ramp stand for: of all maps alike, lest one colour means two things
function scalesOf(maps) {
  const scales = {};
  for (const [kind, { low, high }] of maps.flatMap((map) => Object.entries(map.colours))) {
    const scale = (scales[kind] ??= { low, high });
    Object.assign(scale, { low: Math.min(scale.low, low), high: Math.max(scale.high, high) });
  }
  return scales;
}

function aboutPoint({ place, resolution_angstrom: resolution, worth_particles: worth, spread }) {
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  return `At ${percent(place)} of the motion, as of ${count(Math.round(worth))} particles: ${resolution.toFixed(1)} Å, blur ${percent(spread)}`;
}

function ramp(stops) {
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (stops.length - 1);
    const first = Math.min(Math.floor(place), stops.length - 2);
    return stops[first].map((value, k) => value + (place - first) * (stops[first + 1][k] - value));
  });
}

function byteOf(volume, value) {
  return Math.min(Math.max((255 * (value - volume.low)) / (volume.high - volume.low), 1), 254.5);
}

async function ready(volume) {
  if (!volume.values) {
    volume.values = await unpack(volume.data);
    if (volume.box >= 2 * SMALL) volume.coarse = halved(volume.values, volume.box);
    delete volume.data;
  }
  for (const colours of Object.values(volume.colours ?? {})) colours.values ??= await unpack(colours.data);
}

// Across x, y and z
function slicesOf({ values, box }, share, level, name) {
  const at = Math.min(Math.floor(share * box), box - 1);
  const across = [
    (u, v) => values[(v * box + u) * box + at],
    (u, v) => values[(v * box + at) * box + u],
    (u, v) => values[(at * box + v) * box + u],
  ];
  return across.map((value, axis) => {
    const canvas = element('canvas', { width: box, height: box, className: 'dr-slice', role: 'img', ariaLabel: `${name}, slice across ${'xyz'[axis]}` });
    const image = new ImageData(box, box);
    for (let v = 0; v < box; v++) {
      for (let u = 0; u < box; u++) {
        const grey = value(u, box - 1 - v);
        const tint = grey >= level ? 0.75 : 1;
        image.data.set([grey * tint, grey, grey * tint, 255], 4 * (v * box + u));
      }
    }
    canvas.getContext('2d').putImageData(image, 0, 0);
    return canvas;
  });
}
