// One file of JavaScript for the page, the licences of what is in it, and its SHA-256: the same bytes on every machine.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const OUT = '../src/drgnalign/report/templates';

const result = await build({
  entryPoints: ['src/main.js'],
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2020',
  charset: 'ascii',
  legalComments: 'none',
  loader: { '.css': 'text' },
  metafile: true,
  write: false,
});
// A page that holds it ends its script with this.
const code = result.outputFiles[0].text.replaceAll('</script', '<\\/script');
writeFileSync(`${OUT}/report.js`, code);
writeFileSync(`${OUT}/report.js.sha256`, `${sha256([code])}  report.js\n${sha256(sources())}  report_page\n`);
writeFileSync(`${OUT}/THIRD_PARTY_NOTICES.txt`, notices(Object.keys(result.metafile.inputs)));

function sha256(texts) {
  return texts.reduce((hash, text) => hash.update(text), createHash('sha256')).digest('hex');
}

// All that the bundle comes of, so that a test notices where it was not built again
function sources() {
  const own = readdirSync('src').sort().map((name) => `src/${name}`);
  return ['build.mjs', 'package-lock.json', ...own].map((path) => readFileSync(path, 'utf8'));
}

// Of every package of which the bundle has a part.
function notices(inputs) {
  const packages = inputs.map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean);
  const texts = [...new Set(packages)].sort().map((name) => {
    const folder = `node_modules/${name}`;
    const { version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no licence in its package`);
    return `${name} ${version} (${license})\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}\n`;
  });
  return ['The report\'s JavaScript (report.js) holds parts of these packages.\n', ...texts].join(`\n${'-'.repeat(80)}\n\n`);
}
