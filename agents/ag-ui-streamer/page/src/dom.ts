// The little that the page needs to build elements, and markdown that cannot carry a script.
import DOMPurify from "dompurify";
import { marked } from "marked";

type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export type Source = { number: number; title?: string; heading?: string; url?: string };

const TAGS = ["p", "ul", "ol", "li", "strong", "em", "code", "pre", "a", "br", "h1", "h2", "h3", "h4", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "hr"];

/** Markdown as elements. `[2]` becomes a link to the second source of its own run. */
export function markdown(text: string, sources: Source[]): DocumentFragment {
  const html = marked.parse(text, { async: false, gfm: true });
  const safe = DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["href"],
    ALLOWED_URI_REGEXP: /^https?:/i,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of safe.querySelectorAll("a")) outside(link);
  cite(safe, sources);
  return safe;
}

function cite(root: DocumentFragment, sources: Source[]): void {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  while (walker.nextNode()) texts.push(walker.currentNode as Text);
  for (const node of texts) {
    if (node.parentElement?.closest("a, code")) continue;
    const parts = node.data.split(/(\[\d+\])/);
    if (parts.length < 2) continue;
    node.replaceWith(
      ...parts.map((part) => {
        const source = sources.find((one) => part === `[${one.number}]`);
        if (!source?.url) return part;
        const name = [source.title, source.heading].filter(Boolean).join(" — ");
        return outside(el("a", { class: "cite", href: source.url, title: name, "aria-label": `Source ${source.number}: ${name}` }, String(source.number)));
      }),
    );
  }
}

function outside(link: HTMLAnchorElement): HTMLAnchorElement {
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}
