// The live desk: one conversation with the assistant, what it found, and the threads before it.
import { HttpAgent, type Interrupt, type Tool } from "@ag-ui/client";
import { approvalCard, type Answer } from "./approval";
import { type Link, resumingFetch } from "./connection";
import { Conversation, orderCard } from "./conversation";
import { byId, el } from "./dom";
import { listThreads, readThread, type Thread } from "./threads";

const THREAD = "live-desk.thread";
const THEME = "live-desk.theme";
const TOOLS: Tool[] = [
  {
    name: "change_theme",
    description: "Change the page's colours to dark or light, when the user asks for it.",
    parameters: {
      type: "object",
      properties: { theme: { type: "string", enum: ["dark", "light"] } },
      required: ["theme"],
    },
  },
];

const log = byId("log");
const status = byId("status");
const problem = byId("problem");
const input = byId<HTMLTextAreaElement>("input");
const send = byId<HTMLButtonElement>("send");
const stop = byId<HTMLButtonElement>("stop");
const questions = byId("questions");
const conversation = new Conversation(log);

const known = localStorage.getItem(THREAD);
let agent = newAgent(known ?? crypto.randomUUID());
let runId: string | null = null;
let interrupts: Interrupt[] = [];
let link: Link = "open";
let ended = true;
let resuming = false;

function newAgent(threadId: string): HttpAgent {
  localStorage.setItem(THREAD, threadId);
  const made = new HttpAgent({ url: "/invocations", threadId, fetch: resumingFetch((now) => { link = now; show(); }) });
  made.subscribe({
    onMessagesChanged: show,
    onStateChanged: show,
    onRunErrorEvent: ({ event }) => {
      ended = true;
      if (event.code !== "abort") complain(event.message ?? "The run failed.", resuming ? "read" : "ask");
    },
    onRunFinishedEvent: (finished) => {
      ended = true;
      if (finished.outcome === "interrupt") interrupts = finished.interrupts;
    },
  });
  return made;
}

/** Run until the assistant waits for a person. The page's own tools are answered in between. */
async function run(options: { runId?: string; resume?: Answer[] } = {}): Promise<void> {
  const mine = agent;
  let { resume } = options;
  let id = options.runId ?? crypto.randomUUID();
  for (;;) {
    runId = id;
    ended = false;
    interrupts = [];
    resuming = resume !== undefined;
    link = "open";
    problem.hidden = true;
    show();
    let pending: string[] = [];
    try {
      await mine.runAgent(
        { runId: id, tools: TOOLS, ...(resume ? { resume: resume as never } : {}) },
        { onRunFinishedEvent: (finished) => void (finished.outcome === "success" && (pending = finished.pendingToolCallIds)) },
      );
      if (!ended) complain("The connection ended before the answer did.", "read");
    } catch (error) {
      if ((link as Link) !== "gone") complain(readable(error), "read");
    }
    if (agent !== mine) return; // another thread was opened meanwhile
    runId = null;
    show();
    if (!pending.length) break;
    for (const callId of pending) mine.addMessage(answered(callId));
    resume = undefined;
    id = crypto.randomUUID();
  }
  void showThreads();
  input.focus();
}

function answered(callId: string) {
  const call = agent.messages.flatMap((message) => (message.role === "assistant" ? (message.toolCalls ?? []) : [])).find((one) => one.id === callId);
  let content = JSON.stringify({ error: { code: "unknown_tool", message: "The page has no such tool." } });
  if (call?.function.name === "change_theme") {
    const theme = JSON.parse(call.function.arguments || "{}").theme === "dark" ? "dark" : "light";
    setTheme(theme);
    content = JSON.stringify({ theme });
  }
  return { id: crypto.randomUUID(), role: "tool" as const, toolCallId: callId, content };
}

function say(text: string): void {
  agent.addMessage({ id: crypto.randomUUID(), role: "user", content: text });
  void run();
}

async function halt(): Promise<void> {
  const id = runId;
  if (!id) return;
  stop.disabled = true;
  try {
    await fetch(`/invocations/${encodeURIComponent(id)}/cancel`, { method: "POST" });
  } catch {
    // Not reached: the page lets go all the same.
  } finally {
    // The stream ends with the outcome "cancelled"; where it cannot, the page lets go.
    setTimeout(() => runId === id && agent.abortRun(), 2000);
  }
}

function show(): void {
  const running = runId !== null;
  const near = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  conversation.draw(agent.messages, running);
  byId("welcome").hidden = agent.messages.length > 0;
  const asked = interrupts.map((one) => one.id).join();
  if (questions.dataset.asked !== asked) {
    questions.dataset.asked = asked;
    questions.replaceChildren(...interrupts.map((one) => approvalCard(one, decide)));
    questions.querySelector<HTMLElement>("button")?.focus();
  }
  status.textContent = !running ? (interrupts.length ? "Waiting for your decision" : "Ready") : link === "lost" ? "Connection lost — reconnecting…" : "Working…";
  status.dataset.link = running ? link : "open";
  stop.hidden = !running;
  stop.disabled = false;
  send.hidden = running;
  input.disabled = interrupts.length > 0;
  input.placeholder = interrupts.length ? "Decide first" : "Ask about an order or a policy";
  if (link === "gone" && !running) complain("The agent cannot be reached.", "read");
  showState();
  if (near) log.scrollTop = log.scrollHeight;
}

let decided: Answer[] = [];
function decide(answer: Answer): void {
  decided.push(answer);
  if (decided.length < interrupts.length) return;
  const resume = decided;
  decided = [];
  void run({ resume });
}

function showState(): void {
  const state = (agent.state ?? {}) as { open_case?: { order_id: string; customer_id: string; status: string } | null; sources?: { number: number; title: string; heading?: string; url?: string }[]; orders?: never[]; plan?: { title: string; status?: string }[] };
  const open = state.open_case;
  byId("case").textContent = open ? `${open.order_id} of customer ${open.customer_id}, ${open.status.replaceAll("_", " ")}` : "";
  byId("orders").replaceChildren(...(state.orders ?? []).map(orderCard));
  byId("plan").replaceChildren(...(state.plan ?? []).map((step) => el("li", { "data-status": step.status ?? "waiting" }, step.title, el("span", { class: "hidden" }, `, ${step.status ?? "waiting"}`))));
  byId("sources").replaceChildren(
    ...(state.sources ?? []).map((source) =>
      el("li", {}, el("span", { class: "cite" }, String(source.number)), el("a", { href: source.url ?? "#", target: "_blank", rel: "noopener noreferrer" }, [source.title, source.heading].filter(Boolean).join(" — "))),
    ),
  );
  for (const name of ["case", "orders", "plan", "sources"]) byId(`${name}-part`).hidden = !byId(name).textContent;
  byId("nothing").hidden = Boolean(open || state.orders?.length || state.sources?.length || state.plan?.length);
}

async function showThreads(): Promise<void> {
  try {
    const threads = await listThreads();
    byId("threads").replaceChildren(
      ...threads.map((thread) =>
        el("li", {}, el("button", { type: "button", "aria-current": String(thread.id === agent.threadId), click: () => void open(thread.id) }, thread.title || "Untitled")),
      ),
    );
  } catch {
    // The list stays as it was; a run says what is wrong with the connection.
  }
}

/** Show a thread as the server keeps it, and go on reading its run if one is in progress. */
async function open(threadId: string, isNew = false): Promise<void> {
  if (runId) agent.abortRun();
  agent = newAgent(threadId);
  runId = null;
  interrupts = [];
  decided = [];
  problem.hidden = true;
  let thread: Thread | null = null;
  try {
    if (!isNew) thread = await readThread(threadId);
  } catch {
    complain("The thread cannot be read right now.", "read");
  }
  if (agent.threadId !== threadId) return;
  agent.setMessages(thread?.messages ?? []);
  agent.setState((thread?.state ?? {}) as never);
  interrupts = thread?.interrupts ?? [];
  document.body.classList.remove("menu");
  show();
  log.scrollTop = log.scrollHeight;
  void showThreads();
  if (thread?.run) void run({ runId: thread.run });
}

/** What went wrong, and the way on: to ask the same again, or to read from the server what has become of it. */
function complain(message: string, way: "ask" | "read"): void {
  const again = el("button", { type: "button", click: way === "ask" ? askAgain : () => void open(agent.threadId) }, way === "ask" ? "Try again" : "Read again");
  problem.replaceChildren(el("span", {}, message), again);
  problem.hidden = false;
}

/** The user's last message again, without what a failed run had answered to it. */
function askAgain(): void {
  const last = agent.messages.findLastIndex((message) => message.role === "user");
  agent.setMessages(agent.messages.slice(0, last + 1));
  void run();
}

function readable(error: unknown): string {
  const body = (error as { payload?: { error?: { message?: string } } }).payload;
  return body?.error?.message ?? "The agent did not answer. Try again.";
}

function setTheme(theme: string): void {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
}

byId("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text || runId || interrupts.length) return;
  input.value = "";
  say(text);
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId<HTMLFormElement>("compose").requestSubmit();
  }
});
stop.addEventListener("click", () => void halt());
byId("new").addEventListener("click", () => void open(crypto.randomUUID(), true));
byId("menu").addEventListener("click", () => byId("menu").setAttribute("aria-expanded", String(document.body.classList.toggle("menu"))));
byId("theme").addEventListener("click", () => setTheme(getComputedStyle(document.documentElement).colorScheme === "dark" ? "light" : "dark"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && runId) void halt();
});
for (const example of document.querySelectorAll<HTMLButtonElement>("#welcome button")) {
  example.addEventListener("click", () => say(example.textContent ?? ""));
}

const theme = localStorage.getItem(THEME);
if (theme) setTheme(theme);
void open(agent.threadId, !known);
