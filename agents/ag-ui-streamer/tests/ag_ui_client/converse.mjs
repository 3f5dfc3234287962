// Drives HttpAgent of @ag-ui/client through the turns that a test describes on standard input, and prints what the client
// saw as one JSON object. The client verifies the order of events and throws where it is wrong; that shows as `error`.
//
// in:  {"url", "headers"?, "threadId"?, "tools"?, "turns": [{"user"?: text, "toolResults"?: [{"toolCallId", "content"}],
//       "abortAfter"?: number of events, "runId"?, "decide"?: the payload of each open interrupt, "cancelled" or null for
//       none, "resume"?: what is sent as it stands}]}
// out: {"turns": [{"events": [...], "error"?}], "messages": [...], "state": {...}}
import { HttpAgent } from "@ag-ui/client";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const script = JSON.parse(Buffer.concat(chunks).toString("utf8"));

const agent = new HttpAgent({ url: script.url, headers: script.headers ?? {}, threadId: script.threadId });
const turns = [];
for (const [number, turn] of script.turns.entries()) {
  if (turn.user !== undefined) {
    agent.messages.push({ id: `user-${number}`, role: "user", content: turn.user });
  }
  for (const [index, result] of (turn.toolResults ?? []).entries()) {
    agent.messages.push({ id: `result-${number}-${index}`, role: "tool", ...result });
  }
  const seen = { events: [] };
  turns.push(seen);
  try {
    let resume = turn.resume;
    if (turn.decide) {
      resume = agent.pendingInterrupts.map(({ id }) =>
        turn.decide === "cancelled"
          ? { interruptId: id, status: "cancelled" }
          : { interruptId: id, status: "resolved", payload: turn.decide },
      );
    }
    await agent.runAgent(
      { tools: script.tools ?? [], ...(turn.runId && { runId: turn.runId }), ...(resume && { resume }) },
      {
        onEvent: ({ event }) => {
          seen.events.push(event);
          if (turn.abortAfter === seen.events.length) agent.abortRun();
        },
        onRunFailed: ({ error }) => {
          seen.error = String(error?.message ?? error);
        },
      },
    );
  } catch (error) {
    seen.error = String(error?.message ?? error);
  }
}
const pending = agent.pendingInterrupts.map(({ id }) => id);
process.stdout.write(JSON.stringify({ turns, messages: agent.messages, state: agent.state, pending }));
// The client may keep a connection of an aborted run open.
process.exit(0);
