// The particles' clusters from round to round: a column a round, bands as wide as the particles that they carry.
import { sankey, sankeyLinkHorizontal } from 'd3-sankey';
import { count, element, mount, svg } from './dom.js';
import { colourOf, inOrder, nameOf, signOf } from './labels.js';

const [COLUMN, BAR, MARGIN] = [190, 18, 90];
// Of its size, as small as it may be drawn before its place scrolls
const LEGIBLE = 0.6;

export function showFlow(place, flow) {
  if (!flow?.nodes?.length) return;
  const { rounds } = flow;
  const id = (round, label) => `${round}:${label}`;
  const next = new Map(rounds.map((round, i) => [round, rounds[i + 1]]));
  const width = COLUMN * Math.max(rounds.length - 1, 0) + BAR + MARGIN;
  const height = 120 + 26 * Math.max(...rounds.map((round) => flow.nodes.filter((node) => node.round === round).length), 6);
  const layout = sankey()
    .nodeId((node) => node.id)
    .nodeWidth(BAR)
    .nodePadding(14)
    .nodeAlign((node) => rounds.indexOf(node.round))
    .nodeSort((a, b) => inOrder(a.label, b.label))
    .linkSort((a, b) => inOrder(a.source.label, b.source.label) || inOrder(a.target.label, b.target.label))
    .extent([[0, 24], [COLUMN * Math.max(rounds.length - 1, 0) + BAR, height]]);
  const { nodes, links } = layout({
    nodes: flow.nodes.map((node) => ({ ...node, id: id(node.round, node.label), fixedValue: node.particles })),
    links: flow.links.map(({ round, source, target, particles }) => ({
      source: id(round, source), target: id(next.get(round), target), value: particles,
    })),
  });
  // d3 divides by the number of gaps, of which a single round has none
  for (const node of nodes) {
    node.x0 = rounds.indexOf(node.round) * COLUMN;
    node.x1 = node.x0 + BAR;
  }
  const line = sankeyLinkHorizontal();
  const bands = links.map((link) => svg('path', {
    d: line(link), fill: 'none', stroke: colourOf(link.source.label), 'stroke-opacity': 0.45, 'stroke-width': Math.max(link.width, 0.5),
  }, svg('title', {}, `${count(link.value)} particles: ${nameOf(link.source.label)} of round ${link.source.round} → ${nameOf(link.target.label)} of round ${link.target.round}`)));
  const bars = nodes.map((node) => svg('g', {},
    svg('rect', { x: node.x0, y: node.y0, width: BAR, height: Math.max(node.y1 - node.y0, 1), fill: colourOf(node.label) }),
    svg('text', { x: node.x0 + BAR + 5, y: (node.y0 + node.y1) / 2 + 4, 'font-size': 12, class: 'dr-halo' },
      svg('tspan', { 'font-weight': 'bold' }, signOf(node.label)), `  ${count(node.particles)}`),
    svg('title', {}, `${nameOf(node.label)}, round ${node.round}: ${count(node.particles)} particles`)));
  const heads = rounds.map((round, i) => svg('text', { x: i * COLUMN, y: 14, 'font-size': 13 }, `round ${round}`));
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${height + 6}`, width, role: 'img', 'aria-label': 'Clusters from round to round', class: 'dr-flow', style: `min-width: ${Math.round(LEGIBLE * width)}px` }, ...bands, ...bars, ...heads);
  mount(place, element('div', { className: 'dr-wide', tabIndex: 0, role: 'region', ariaLabel: 'Label flow' }, drawing));
}
