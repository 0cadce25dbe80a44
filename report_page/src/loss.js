// cryoDRGN's loss by epoch, over all rounds.
import uPlot from 'uplot';
import { element, mount } from './dom.js';
import { READINGS, axisAcross, axisUp, curve, place as reading } from './plots.js';

const HEIGHT = 240;
const LINES = [['total', '#000000'], ['reconstruction', '#0072B2', [6, 4]], ['KLD', '#E69F00', [2, 3], 'KLD']];

export function showLoss(place, training) {
  const losses = training.flatMap(({ round, losses }) => (losses ?? []).map((loss) => ({ ...loss, round })));
  if (losses.length < 2) return;
  const starts = losses.map((loss, i) => (i && loss.round !== losses[i - 1].round ? i + 1 : null)).filter(Boolean);
  const box = element('div', {});
  mount(place, element('figure', {}, element('figcaption', { textContent: 'Loss by epoch; dashed: where a round’s training begins' }), box));
  const plot = new uPlot({
    width: Math.min(box.clientWidth || 320, 700),
    height: HEIGHT,
    scales: { x: { time: false } },
    series: [reading((v) => `after epoch ${v}`), ...LINES.map(([label, stroke, dash, scale = 'y']) => ({ ...curve(label, stroke, { dash, width: 1.6, say: (v) => v.toPrecision(4) }), scale }))],
    axes: [
      axisAcross('epoch', { incrs: [1, 2, 5, 10, 20, 50, 100] }), axisUp('total, reconstruction', 56),
      // of another size: it counts in the total by beta over the number of pixels
      axisUp('KLD', 46, { scale: 'KLD', side: 1, grid: { show: false } }),
    ],
    legend: READINGS,
    cursor: { drag: { x: false, y: false } },
    hooks: { draw: [(drawn) => drawStarts(drawn, starts)] },
  }, [losses.map((_, i) => i + 1), ...LINES.map(([kind]) => losses.map((loss) => loss[kind.toLowerCase()] ?? null))], box);
  new ResizeObserver(() => plot.setSize({ width: Math.min(box.clientWidth, 700), height: HEIGHT })).observe(box);
}

function drawStarts({ ctx, bbox, valToPos }, starts) {
  ctx.save();
  ctx.strokeStyle = '#999999';
  ctx.setLineDash([4, 4]);
  for (const start of starts) {
    const x = valToPos(start - 0.5, 'x', true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
