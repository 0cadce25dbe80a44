// Elements of the page.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { dataset, style, ...own } = properties;
  for (const [name, value] of Object.entries(own)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  Object.assign(made.dataset, dataset);
  Object.assign(made.style, style);
  made.append(...children);
  return made;
}

const SVG = 'http://www.w3.org/2000/svg';

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// In place of what stands there for those without JavaScript; headings and sentences stay.
export function mount(parent, content) {
  for (const child of parent.children) {
    if (!/^(H[1-6]|P|HEADER)$/.test(child.tagName)) child.hidden = true;
  }
  parent.append(content);
}

export function labelled(text, control) {
  return element('label', { className: 'dr-control' }, element('span', { textContent: text }), control);
}

export function slider(text, { min, max, step, value, say, change }) {
  const said = element('output', { textContent: say(value) });
  const control = element('input', { type: 'range', min, max, step, value });
  control.addEventListener('input', () => {
    said.textContent = say(Number(control.value));
    change(Number(control.value), false);
  });
  control.addEventListener('change', () => change(Number(control.value), true));
  return element('label', { className: 'dr-control' }, element('span', { textContent: text }), control, said);
}

export function choice(text, options, change) {
  const control = element('select', {}, ...options.map(([value, name]) => element('option', { value, textContent: name })));
  control.addEventListener('change', () => change(control.value));
  return labelled(text, control);
}

export function button(text, click, properties = {}) {
  const made = element('button', { type: 'button', textContent: text, ...properties });
  made.addEventListener('click', click);
  return made;
}

// Puts other children into a place. Whoever was at one of its controls is at the one of the same key then.
export function renew(place, ...children) {
  const key = place.contains(document.activeElement) && document.activeElement.dataset.key;
  place.replaceChildren(...children);
  if (key) place.querySelector(`[data-key="${key}"]`)?.focus();
}

export const roundName = (number) => (number ? `round ${number}` : 'consensus');
export const count = (number) => number.toLocaleString('en');
