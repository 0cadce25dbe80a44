// What the page holds in its blocks of JSON, and the volumes and points in them.

export function block(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

// Raw deflate in base64 -> bytes
export async function unpack(text) {
  const letters = atob(text);
  const squeezed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) squeezed[i] = letters.charCodeAt(i);
  const stream = new Blob([squeezed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Numbers of 16 bits, whose low bytes come first
export async function unpackWords(text) {
  const bytes = await unpack(text);
  const words = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < words.length; i++) words[i] = bytes[i] | (bytes[words.length + i] << 8);
  return words;
}

export async function unpackNames(text) {
  const names = new TextDecoder().decode(await unpack(text));
  return names ? names.split('\n') : [];
}
