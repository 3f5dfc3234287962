// The conversation as elements. Each message keeps its element while it grows, so that a reader's place and a screen
// reader's log are not disturbed.
import type { Message } from "@ag-ui/client";
import { el, markdown, type Source } from "./dom";

type Call = { id: string; function: { name: string; arguments: string } };
type Order = {
  order_id: string;
  status: string;
  placed_at?: string;
  total?: { amount: string; currency: string };
  lines?: { name: string; quantity: number; sku: string }[];
};

type Progress = { title: string; done: number; of: number };

const TOOL_NAMES: Record<string, string> = {
  search_handbook: "Searched the handbook",
  lookup_order: "Looked up the order",
  list_customer_orders: "Listed the customer's orders",
  issue_refund: "Refund",
  hand_over_to_planner: "Handed over to the planner",
  change_theme: "Changed the page's colours",
};

export class Conversation {
  private readonly drawn = new Map<string, { element: HTMLElement; from: string }>();

  constructor(private readonly log: HTMLElement) {}

  draw(messages: Message[], running: boolean): void {
    const results = new Map<string, string>();
    for (const message of messages) {
      if (message.role === "tool") results.set(message.toolCallId, String(message.content));
    }
    const shown = new Set<string>();
    let sources: Source[] = [];
    let before: HTMLElement | null = null;
    for (const message of messages) {
      if (message.role === "user") sources = [];
      if (message.role === "tool") sources = [...sources, ...passages(String(message.content))];
      const calls = message.role === "assistant" ? ((message.toolCalls ?? []) as Call[]) : [];
      const answers = calls.map((call) => results.get(call.id) ?? "");
      const from = JSON.stringify([message, answers, message.role === "assistant" ? sources.length : 0]);
      let element = this.drawn.get(message.id)?.element;
      if (this.drawn.get(message.id)?.from !== from) {
        const drawn = this.one(message, calls, results, sources, element);
        if (!drawn) continue;
        if (element) element.replaceWith(drawn);
        element = drawn;
        this.drawn.set(message.id, { element, from });
      }
      if (!element) continue;
      shown.add(message.id);
      const place: Element | null = before ? before.nextElementSibling : this.log.firstElementChild;
      if (place !== element) this.log.insertBefore(element, place);
      before = element;
    }
    for (const [id, { element }] of this.drawn) {
      if (shown.has(id)) continue;
      element.remove();
      this.drawn.delete(id);
    }
    this.log.setAttribute("aria-busy", String(running));
  }

  private one(
    message: Message,
    calls: Call[],
    results: Map<string, string>,
    sources: Source[],
    old: HTMLElement | undefined,
  ): HTMLElement | null {
    if (message.role === "user") {
      return el("article", { class: "said user", "aria-label": "You" }, el("p", {}, textOf(message.content)));
    }
    if (message.role === "reasoning") {
      const open = old?.hasAttribute("open") ?? false;
      return el("details", { class: "reasoning", open }, el("summary", {}, "How it came to this"), el("p", {}, String(message.content)));
    }
    if (message.role === "activity") return progress(message.content as Progress);
    if (message.role !== "assistant") return null;
    const parts: Node[] = calls.map((call) => toolCard(call, results.get(call.id)));
    if (message.content) parts.unshift(el("div", { class: "text" }, markdown(String(message.content), sources)));
    return parts.length ? el("article", { class: "said assistant", "aria-label": "Assistant" }, ...parts) : null;
  }
}

/** A card of progress: how much of something is done. */
function progress(card: Progress): HTMLElement {
  const bar = el("progress", { max: String(card.of || 1), value: String(card.done), "aria-label": card.title });
  return el("div", { class: "progress" }, el("span", {}, `${card.title}: ${card.done} of ${card.of} steps`), bar);
}

function toolCard(call: Call, result: string | undefined): HTMLElement {
  const output = result === undefined ? undefined : parsed(result);
  const problem = output?.error?.message as string | undefined;
  const state = result === undefined ? "working" : problem ? "failed" : "done";
  const title = TOOL_NAMES[call.function.name] ?? call.function.name;
  const order = output?.order as Order | undefined;
  const card = el(
    "details",
    { class: `tool ${state}` },
    el("summary", {}, el("span", { class: "dot", "aria-hidden": "true" }), el("span", {}, title), el("span", { class: "hint" }, hint(call, state))),
    el("pre", { tabindex: "0", "aria-label": "Arguments" }, pretty(call.function.arguments)),
  );
  if (problem) card.append(el("p", { class: "problem" }, problem));
  else if (typeof output?.summary === "string") card.append(el("p", {}, output.summary));
  return order ? el("div", {}, card, orderCard(order)) : card;
}

export function orderCard(order: Order): HTMLElement {
  return el(
    "section",
    { class: "order", "aria-label": `Order ${order.order_id}` },
    el("header", {}, el("strong", {}, order.order_id), el("span", { class: `status ${order.status}` }, order.status.replaceAll("_", " "))),
    el("ul", {}, ...(order.lines ?? []).map((line) => el("li", {}, `${line.quantity} × ${line.name}`, el("small", {}, line.sku)))),
    el("footer", {}, order.placed_at ? `Placed ${order.placed_at.slice(0, 10)}` : "", el("b", {}, order.total ? `${order.total.amount} ${order.total.currency}` : "")),
  );
}

function hint(call: Call, state: string): string {
  const given = Object.values(parsed(call.function.arguments) ?? {}).find((value) => typeof value === "string");
  const waits = call.function.name === "issue_refund" ? "waits for your decision" : "working…";
  return state === "working" ? waits : state === "failed" ? "did not work" : String(given ?? "");
}

function passages(content: string): Source[] {
  const found = parsed(content)?.passages;
  return Array.isArray(found) ? (found as Source[]).filter((one) => typeof one.number === "number") : [];
}

function parsed(text: string): Record<string, any> | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pretty(text: string): string {
  const value = parsed(text);
  return value === undefined ? text : JSON.stringify(value, null, 2);
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  return (content as { text?: string }[]).map((part) => part.text ?? "").join(" ");
}
