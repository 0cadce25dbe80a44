// How something in three dimensions is looked at: turned about the screen's axes, moved and made larger.

const START = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const STEP = Math.PI / 18;

export function camera() {
  return { turn: START.slice(), shift: [0, 0], zoom: 1 };
}

export function reset(view) {
  Object.assign(view, camera());
}

// About the screen's vertical axis, then about its horizontal one; matrices hold columns one after the other.
export function rotate(view, aside, up) {
  const [c, s, d, t] = [Math.cos(aside), Math.sin(aside), Math.cos(up), Math.sin(up)];
  const more = [c, t * s, -d * s, 0, d, t, s, -t * c, d * c];
  const last = view.turn;
  view.turn = last.map((_, i) => {
    const [column, row] = [Math.floor(i / 3), i % 3];
    return [0, 1, 2].reduce((sum, k) => sum + more[k * 3 + row] * last[column * 3 + k], 0);
  });
}

// Drags turn, or move where there is nothing to turn and with the shift key; the wheel zooms once the place has been
// clicked, lest it stops who scrolls by. `busy` says that drags and keys are for something else.
export function control(place, view, { flat = () => false, busy = () => false, reach, changed: draw }) {
  // once a frame is enough
  let asked = 0;
  const changed = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
  place.addEventListener('pointerdown', (event) => {
    if (busy() || event.button || event.target.closest('button, input, label')) return;
    place.setPointerCapture(event.pointerId);
    place.dataset.held = '';
  });
  for (const end of ['pointerup', 'pointercancel']) place.addEventListener(end, () => delete place.dataset.held);
  place.addEventListener('pointermove', (event) => {
    if (!('held' in place.dataset)) return;
    const unit = reach() / view.zoom;
    if (flat() || event.shiftKey) view.shift = [view.shift[0] + event.movementX * unit, view.shift[1] - event.movementY * unit];
    else rotate(view, event.movementX * 0.01, event.movementY * 0.01);
    changed();
  });
  place.addEventListener(
    'wheel',
    (event) => {
      if (document.activeElement !== place) return;
      event.preventDefault();
      zoom(view, Math.exp(-event.deltaY * 0.002));
      changed();
    },
    { passive: false },
  );
  place.addEventListener('keydown', (event) => {
    if (busy() || event.target !== place || event.ctrlKey || event.altKey || event.metaKey) return;
    const turns = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (turns && (flat() || event.shiftKey)) {
      const unit = (20 * reach()) / view.zoom;
      view.shift = [view.shift[0] + Math.sign(turns[0]) * unit, view.shift[1] - Math.sign(turns[1]) * unit];
    } else if (turns) rotate(view, ...turns);
    else if (event.key === '+' || event.key === '=') zoom(view, 1.2);
    else if (event.key === '-') zoom(view, 1 / 1.2);
    else if (event.key === '0') reset(view);
    else return;
    event.preventDefault();
    changed();
  });
}

function zoom(view, factor) {
  view.zoom = Math.min(Math.max(view.zoom * factor, 0.3), 40);
}

export const HELP = 'Drag or arrow keys turn, shift moves, + − or the wheel (after a click) zoom, 0 resets.';
export const FLAT_HELP = 'Drag or arrow keys move, + − or the wheel (after a click) zoom, 0 resets.';
