// Clusters by their labels: 0 is unassigned, −1 left out.
import { block } from './data.js';

const palette = block('report-points')?.palette ?? { clusters: ['#000000'], unassigned: '#D0D0D0', left_out: '#8A8A8A' };
// As the figures' markers: circle, square, triangle, diamond
const MARKERS = ['●', '■', '▲', '◆'];

export function colourOf(label) {
  if (label < 0) return palette.left_out;
  return label ? palette.clusters[(label - 1) % palette.clusters.length] : palette.unassigned;
}

export const lapOf = (label) => (label > 0 ? Math.floor((label - 1) / palette.clusters.length) % MARKERS.length : 0);
export const markerOf = (label) => MARKERS[lapOf(label)];
export const nameOf = (label) => (label > 0 ? `cluster ${label}` : label ? 'left out' : 'unassigned');
export const signOf = (label) => (label > 0 ? String(label) : label ? '×' : '–');
// In the order of the clusters; then who is unassigned, then who is left out
export const inOrder = (a, b) => (a <= 0) - (b <= 0) || Math.abs(a) - Math.abs(b);

export function rgbOf(colour) {
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}
