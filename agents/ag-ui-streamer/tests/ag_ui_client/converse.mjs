// Drives HttpAgent of @ag-ui/client through the turns that a test describes on standard input, and prints what the client
// saw as one JSON object. The client verifies the order of events and throws where it is wrong; that shows as `error`.
//
// in:  {"url", "headers"?, "threadId"?, "tools"?, "turns": [{"user"?: text, "toolResults"?: [{"toolCallId", "content"}],
//       "abortAfter"?: number of events}]}
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
    await agent.runAgent(
      { tools: script.tools ?? [] },
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
process.stdout.write(JSON.stringify({ turns, messages: agent.messages, state: agent.state }));
// The client may keep a connection of an aborted run open.
process.exit(0);
