// markdown: text in, HTML out. Headings, paragraphs, lists, quotes, code, rules; emphasis, code and links in them.

import { fail } from "wasmrun";

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const SCHEMES = /^(https?:\/\/|mailto:|[/#?]|[\w.-]+(\/|$))/i;

const escape = (text) => text.replace(/[&<>"]/g, (character) => ESCAPES[character]);

// Code and links are set aside first, so that nothing in them is taken for emphasis.
function inline(text) {
  const parts = [];
  const keep = (html) => `\0${parts.push(html) - 1}\0`;
  return escape(text.replaceAll("\0", ""))
    .replace(/(`+)(.+?)\1/g, (_, ticks, code) => keep(`<code>${code.trim()}</code>`))
    .replace(/\[([^\]\0]*)\]\(([^()\s\0]*)\)/g, (all, label, target) =>
      SCHEMES.test(target) ? keep(`<a href="${target}">`) + label + keep("</a>") : all,
    )
    .replace(/\*\*(?=\S)(.+?)\*\*/g, "<strong>$1</strong>")
    .replace(/\*(?=\S)(.+?)\*/g, "<em>$1</em>")
    .replace(/\0(\d+)\0/g, (_, index) => parts[index]);
}

// Each kind of block: how its first line looks, how the lines after it do, and what becomes of them.
const BLOCKS = [
  [/^ {0,3}(#{1,6})\s+(.*?)\s*#*$/, null, ([line], found) => heading(found[1].length, found[2])],
  [/^ {0,3}([-*_])(\s*\1){2,}\s*$/, null, () => "<hr>"],
  [/^ {0,3}>/, /^ {0,3}>/, (lines) => `<blockquote>\n${blocks(lines.map((line) => line.replace(/^ {0,3}> ?/, "")))}\n</blockquote>`],
  [/^ {0,3}[-*+]\s+/, /^( {0,3}[-*+]\s+|\s{2,}\S)/, (lines) => list("ul", lines, /^ {0,3}[-*+]\s+/)],
  [/^ {0,3}\d+[.)]\s+/, /^( {0,3}\d+[.)]\s+|\s{2,}\S)/, (lines) => list("ol", lines, /^ {0,3}\d+[.)]\s+/)],
];

const heading = (level, text) => `<h${level}>${inline(text)}</h${level}>`;

function list(tag, lines, mark) {
  const items = [];
  for (const line of lines) {
    if (mark.test(line)) items.push([line.replace(mark, "")]);
    else items.at(-1).push(line.trim());
  }
  return `<${tag}>\n${items.map((item) => `<li>${inline(item.join("\n"))}</li>`).join("\n")}\n</${tag}>`;
}

function blocks(lines) {
  const out = [];
  for (let at = 0; at < lines.length; ) {
    const line = lines[at];
    if (!line.trim()) {
      at++;
      continue;
    }
    let end = at + 1;
    if (line.startsWith("```")) {
      while (end < lines.length && !lines[end].startsWith("```")) end++;
      const language = line.slice(3).trim();
      const kind = language && ` class="language-${escape(language)}"`;
      out.push(`<pre><code${kind}>${escape(lines.slice(at + 1, end).join("\n"))}\n</code></pre>`);
      at = end + 1;
      continue;
    }
    const block = BLOCKS.find(([first]) => first.test(line));
    const goesOn = block ? (next) => block[1]?.test(next) : (next) => next.trim() && !starts(next);
    while (end < lines.length && goesOn(lines[end])) end++;
    const whole = lines.slice(at, end);
    out.push(block ? block[2](whole, block[0].exec(line)) : `<p>${inline(whole.map((one) => one.trim()).join("\n"))}</p>`);
    at = end;
  }
  return out.join("\n");
}

const starts = (line) => line.startsWith("```") || BLOCKS.some(([first]) => first.test(line));

export function handle(event) {
  if (typeof event?.markdown !== "string") fail("InvalidEvent", 'the event needs a string "markdown"');
  return { html: blocks(event.markdown.split(/\r?\n/)) };
}
