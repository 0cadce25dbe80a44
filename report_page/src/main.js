// Brings the page to life: each part takes the place of the table or picture that stands there without it.
import uplotStyle from 'uplot/dist/uPlot.min.css';
import style from './report.css';
import { copyOnClick } from './copy.js';
import { block } from './data.js';
import { element } from './dom.js';
import { showFlow } from './flow.js';
import { showFsc } from './fsc.js';
import { showLatent } from './latent.js';
import { showLoss } from './loss.js';
import { showMaps } from './maps.js';

document.head.append(element('style', { textContent: uplotStyle + style }));
const [data, volumes, points] = ['report-data', 'report-volumes', 'report-points'].map(block);
const parts = [
  ['flow-plot', data?.flow, (place) => showFlow(place, data.flow)],
  ['fsc-plots', data?.fsc, (place) => showFsc(place, data.fsc, volumes)],
  ['loss-plot', data?.training, (place) => showLoss(place, data.training)],
  ['latent', points, (place) => showLatent(place, points), 'packed'],
  // last, for they go on with finer surfaces once they are there
  ['maps', volumes, (place) => showMaps(place, volumes), 'packed'],
];

const TOO_OLD = 'this browser lacks DecompressionStream, which Chrome 103, Firefox 113, Safari 16.4 and later have';

// What is folded on the screen is not on paper.
function unfold() {
  const folded = [...document.querySelectorAll('details:not([open])')];
  for (const one of folded) one.open = true;
  addEventListener('afterprint', () => folded.forEach((one) => { one.open = false; }), { once: true });
}

async function show() {
  copyOnClick(document);
  addEventListener('beforeprint', unfold);
  for (const [id, given, part, packed] of parts) {
    const place = document.getElementById(id);
    if (!place || !given) continue;
    try {
      if (packed && given.rounds.length && !('DecompressionStream' in globalThis)) throw new Error(TOO_OLD);
      await part(place);
    } catch (error) {
      console.error(error);
      place.append(element('p', { role: 'alert', textContent: `This part could not be drawn: ${error.message}` }));
    }
  }
  document.documentElement.dataset.ready = 'yes';
  performance.mark('ready');
}

show();
