// A fetch for HttpAgent whose stream outlives its connection: where the connection breaks before the run's last event,
// it reads on from the run's log, after the last event it has seen. The agent sees one stream.

export type Link = "open" | "lost" | "gone";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 3000;
const GIVE_UP_MS = 60_000;
const TERMINAL = /^data: .*"type":"(RUN_FINISHED|RUN_ERROR)"/m;

/** `tell` hears whether the page is connected; "gone" when it has stopped trying. */
export function resumingFetch(tell: (link: Link) => void): typeof fetch {
  return async (target, init) => {
    const runId = String(JSON.parse(String(init?.body)).runId);
    const answer = await patiently(() => fetch(target, init), init?.signal, tell);
    if (!answer.ok || !answer.body) return answer;
    tell("open");
    return new Response(whole(answer, runId, init?.signal, tell), { headers: answer.headers });
  };
}

function whole(first: Response, runId: string, signal: AbortSignal | null | undefined, tell: (link: Link) => void) {
  return new ReadableStream<Uint8Array>({
    async start(stream) {
      const encoder = new TextEncoder();
      let answer: Response = first;
      let seen = 0;
      for (;;) {
        try {
          for await (const frame of frames(answer)) {
            const number = /^id: (\d+)$/m.exec(frame);
            if (number) {
              // After a cursor at the end the last event comes again.
              if (Number(number[1]) <= seen && !TERMINAL.test(frame)) continue;
              seen = Number(number[1]);
            }
            stream.enqueue(encoder.encode(`${frame}\n\n`));
            if (TERMINAL.test(frame)) return stream.close();
          }
        } catch (error) {
          if (signal?.aborted) return stream.error(error);
        }
        if (signal?.aborted) return stream.error(new DOMException("stopped", "AbortError"));
        tell("lost");
        try {
          const place = `/invocations/${encodeURIComponent(runId)}?after=${seen}`;
          answer = await patiently(() => reached(place, signal), signal, tell);
        } catch (error) {
          tell("gone");
          return stream.error(error);
        }
        if (!answer.ok) {
          tell("gone");
          return stream.error(new Error(`HTTP ${answer.status}`));
        }
        tell("open");
      }
    },
  });
}

/** A server that cannot answer now is one that is not reached. */
async function reached(place: string, signal: AbortSignal | null | undefined): Promise<Response> {
  const answer = await fetch(place, { signal: signal ?? null });
  if (answer.status >= 500) throw new Error(`HTTP ${answer.status}`);
  return answer;
}

/** Try again while the server cannot be reached, with longer and longer pauses, for a minute. */
async function patiently(
  ask: () => Promise<Response>,
  signal: AbortSignal | null | undefined,
  tell: (link: Link) => void,
): Promise<Response> {
  const until = Date.now() + GIVE_UP_MS;
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      return await ask();
    } catch (error) {
      if (signal?.aborted || Date.now() > until) throw error;
      tell("lost");
    }
    await new Promise((go) => setTimeout(go, wait));
  }
}

async function* frames(answer: Response): AsyncGenerator<string> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop()!;
    yield* parts;
  }
}
