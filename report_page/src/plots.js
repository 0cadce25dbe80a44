// What plots of curves share: readings under the cursor, samples of the lines, and what the axes are of.

// A sample of the line as it is drawn, where uPlot has a box; bars have the box.
function sample({ series }, i) {
  const { stroke, fill, dash, width } = series[i];
  const box = fill();
  if (box) return box;
  const line = `<line x2='30' y1='2' y2='2' stroke='${stroke()}' stroke-width='${Math.max(width, 1.5)}' stroke-dasharray='${dash ?? ''}'/>`;
  const drawing = `<svg xmlns='http://www.w3.org/2000/svg' width='30' height='4'>${line}</svg>`;
  return `url("data:image/svg+xml,${encodeURIComponent(drawing)}") center no-repeat`;
}

export const READINGS = { markers: { width: 0, fill: sample } };

// The place under the cursor: nothing is said of it while there is none.
export const place = (say) => ({ label: ' ', value: (_, v) => (v == null ? '' : say(v)) });

export function curve(label, stroke, { dash, width = 1.2, say = (v) => v.toFixed(3) } = {}) {
  return { label, stroke, dash, width, points: { show: false }, value: (_, v) => (v == null ? '' : say(v)) };
}

const NAMED = { labelSize: 20, labelFont: '12px sans-serif' };
export const axisAcross = (label, ticks) => ({ label, ...NAMED, size: 28, ...ticks });
export const axisUp = (label, size, other) => ({ label, ...NAMED, size, ...other });
