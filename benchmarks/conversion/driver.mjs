// One converter of npm in a process of its own; the protocol is that of driver.py.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const [name, documentsFile] = process.argv.slice(2);
const answer = (text) => process.stdout.write(`${text}\n`);
console.log = console.error; // what a converter prints is no answer
const require = createRequire(join(process.cwd(), 'package.json'));
const converters = {
  'npm marklassian': async () => (await import(require.resolve('marklassian'))).markdownToAdf,
  'npm md-to-adf': async () => {
    const convert = require('md-to-adf');
    return (source) => JSON.parse(JSON.stringify(convert(source)));
  },
  'npm @atlaskit/editor-markdown-transformer': async () => {
    const { MarkdownTransformer } = require('@atlaskit/editor-markdown-transformer');
    const { JSONTransformer } = require('@atlaskit/editor-json-transformer');
    const { defaultSchema } = require('@atlaskit/adf-schema/schema-default');
    const markdown = new MarkdownTransformer(defaultSchema);
    const json = new JSONTransformer(defaultSchema);
    return (source) => json.encode(markdown.parse(source));
  },
  'npm @razroo/html-to-adf': async () => require('@razroo/html-to-adf').convertHtmlToADF,
  'npm html-to-adf-converter': async () => {
    const { JSDOM } = require('jsdom');
    const { window } = new JSDOM('');
    Object.assign(globalThis, { DOMParser: window.DOMParser, Node: window.Node });
    return require('html-to-adf-converter');
  },
};
const convert = await converters[name]();
const documents = JSON.parse(readFileSync(documentsFile, 'utf8'));
answer('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [command, file] = [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)];
  if (command === 'convert') {
    const results = documents.map((document) => {
      try {
        const begun = performance.now();
        const adf = convert(document);
        const seconds = (performance.now() - begun) / 1000;
        return { adf: JSON.parse(JSON.stringify(adf)), seconds };
      } catch (error) {
        return { error: String(error).slice(0, 200) };
      }
    });
    writeFileSync(file, JSON.stringify(results));
    answer('done');
  } else if (command === 'time') {
    const chosen = JSON.parse(readFileSync(file, 'utf8')).map((each) => documents[each]);
    const begun = performance.now();
    chosen.forEach((document) => convert(document));
    answer((performance.now() - begun) / 1000);
  }
}
