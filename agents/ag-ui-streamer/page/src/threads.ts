// The threads that the server keeps.
import type { Interrupt, Message } from "@ag-ui/client";

export type ThreadHead = { id: string; title: string; updated: number };
export type Thread = ThreadHead & {
  messages: Message[];
  state: unknown;
  interrupts: Interrupt[];
  run: string | null;
};

export async function listThreads(): Promise<ThreadHead[]> {
  const answer = await fetch("/invocations/threads");
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return (await answer.json()).threads;
}

/** The thread, or null: it was never used. */
export async function readThread(id: string): Promise<Thread | null> {
  const answer = await fetch(`/invocations/threads?id=${encodeURIComponent(id)}`);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}
