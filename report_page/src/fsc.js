// Fourier shell correlations of a round: each cluster's four curves, limit of alignment and Nyquist; local resolutions.
import uPlot from 'uplot';
import { count, element, mount, roundName, slider } from './dom.js';
import { colourOf, nameOf } from './labels.js';
import { READINGS, axisAcross, axisUp, curve as line, place as reading } from './plots.js';

const THRESHOLD = 0.143;
// Å, of the labels on frequency axes
const ROUND = [1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 200];
// Widths are the page's, but on paper, where two stand side by side.
const [HEIGHT, ON_PAPER] = [280, 340];
// Above 1 stand the names of the upright lines
const HIGHEST = 1.22;
const [GREY, RED] = ['#777777', '#C0392B'];

export function showFsc(place, curves, volumes) {
  const last = new Map(curves.map((curve) => [curve.round, curve.pass]));
  const rounds = [...last.keys()].sort((a, b) => a - b);
  if (!rounds.length) return;
  const plots = element('div', { className: 'dr-fscs' });
  let drawn = [];
  mount(place, element('div', { className: 'dr-tool' },
    element('div', { className: 'dr-controls' }, slider('Round', {
      min: 0, max: rounds.length - 1, step: 1, value: rounds.length - 1, say: (i) => roundName(rounds[i]), change: (i) => show(rounds[i]),
    })), plots));
  show(rounds.at(-1));
  const fit = (width) => drawn.forEach(([plot, box]) => plot.setSize({ width: width ?? box.clientWidth, height: HEIGHT }));
  new ResizeObserver(() => fit()).observe(plots);
  addEventListener('beforeprint', () => fit(ON_PAPER));
  addEventListener('afterprint', () => fit());

  function show(round) {
    drawn.forEach(([plot]) => plot.destroy());
    plots.replaceChildren();
    const maps = volumes?.rounds.find((one) => one.number === round)?.maps ?? [];
    drawn = curves.filter((curve) => curve.round === round && curve.pass === last.get(round)).flatMap((curve) => {
      const local = maps.find((map) => map.name === curve.cluster)?.resolutions;
      return [fscPlot(plots, curve), ...(local ? [histogram(plots, curve, local)] : [])];
    });
  }
}

const labelOf = (cluster) => Number(cluster.match(/\d+$/)?.[0] ?? 0);
const title = (cluster) => (labelOf(cluster) ? nameOf(labelOf(cluster)) : 'consensus');

function figure(plots, text) {
  const box = element('div', { className: 'dr-fsc' });
  plots.append(element('figure', {}, element('figcaption', { textContent: text }), box));
  return box;
}

function fscPlot(plots, curve) {
  const bound = curve.resolution && curve.resolution <= curve.nyquist * 1.001 ? '≤ ' : '';
  const claim = curve.resolution ? `${bound}${curve.resolution.toFixed(2)} Å` : 'no resolution';
  const box = figure(plots, `${title(curve.cluster)}: ${claim}`);
  const colour = labelOf(curve.cluster) ? colourOf(labelOf(curve.cluster)) : '#000000';
  const lines = [[1 / curve.nyquist, `Nyquist ${curve.nyquist.toFixed(2)} Å`]];
  if (curve.alignment_limit) lines.unshift([1 / curve.alignment_limit, `alignment ${curve.alignment_limit} Å`]);
  const plot = new uPlot({
    width: box.clientWidth || 320,
    height: HEIGHT,
    scales: { x: { time: false, range: () => [0, 1.02 / curve.nyquist] }, y: { range: () => [lowest(curve), HIGHEST] } },
    series: [
      reading((v) => (v ? `at ${(1 / v).toFixed(2)} Å` : '')),
      line('unmasked', GREY, { dash: [1, 3] }),
      line('masked', GREY, { dash: [6, 4] }),
      line('phases randomised', RED, { dash: [2, 2, 8, 2] }),
      line('corrected', colour, { width: 2.2 }),
    ],
    axes: [axisAcross('resolution, Å', {
      splits: (_, __, low, high) => ticks(low, high), values: (_, at) => at.map((v) => String(+(1 / v).toPrecision(3))),
    }), axisUp('FSC', 46, { filter: (_, at) => at.map((v) => (v > 1 ? null : v)) })],
    legend: READINGS,
    cursor: { drag: { x: false, y: false } },
    hooks: { draw: [(drawn) => drawLines(drawn, lines)] },
  }, [curve.frequency, curve.unmasked, curve.masked, curve.randomised, curve.corrected], box);
  return [plot, box];
}

function lowest(curve) {
  const values = [curve.unmasked, curve.masked, curve.randomised, curve.corrected].flat().filter((v) => v !== null);
  return Math.max(Math.min(-0.05, ...values), -1);
}

function ticks(low, high) {
  const found = [];
  for (const angstrom of [...ROUND].reverse()) {
    const far = !found.length || 1 / angstrom - found.at(-1) > 0.09 * (high - low);
    if (1 / angstrom >= low && 1 / angstrom <= high && far) found.push(1 / angstrom);
  }
  return found;
}

// 0.143, and upright lines with their names
function drawLines(plot, upright) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = '#555555';
  ctx.lineWidth = ratio;
  ctx.font = `${11 * ratio}px sans-serif`;
  ctx.setLineDash([4 * ratio, 4 * ratio]);
  const y = plot.valToPos(THRESHOLD, 'y', true);
  stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
  ctx.textAlign = 'left';
  name(ctx, String(THRESHOLD), bbox.left + 6 * ratio, y - 4 * ratio);
  for (const [place, [frequency, text]] of upright.entries()) {
    const x = plot.valToPos(frequency, 'x', true);
    stroke(ctx, x, bbox.top, x, bbox.top + bbox.height);
    ctx.textAlign = 'right';
    name(ctx, text, x - 4 * ratio, bbox.top + (12 + 14 * place) * ratio);
  }
  ctx.restore();
}

// Over a line that it may cross
function name(ctx, text, x, y) {
  ctx.save();
  ctx.setLineDash([]);
  ctx.strokeStyle = '#ffffff';
  ctx.lineWidth *= 4;
  ctx.lineJoin = 'round';
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
  ctx.restore();
}

function stroke(ctx, fromX, fromY, toX, toY) {
  ctx.beginPath();
  ctx.moveTo(fromX, fromY);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}

function histogram(plots, curve, { edges, counts }) {
  const box = figure(plots, `${title(curve.cluster)}: local resolution within the mask`);
  const middles = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
  const plot = new uPlot({
    width: box.clientWidth || 320,
    height: HEIGHT,
    scales: { x: { time: false, range: () => [edges[0], edges.at(-1)] }, y: { range: (_, __, most) => [0, most * 1.05] } },
    series: [
      reading((v) => `at ${v.toFixed(2)} Å`),
      { ...line('voxels', '#555555', { say: count }), fill: '#BBBBBB', paths: uPlot.paths.bars({ size: [1] }) },
    ],
    axes: [axisAcross('local resolution, Å'), axisUp('voxels', 56)],
    legend: READINGS,
    cursor: { drag: { x: false, y: false } },
  }, [middles, counts], box);
  return [plot, box];
}
