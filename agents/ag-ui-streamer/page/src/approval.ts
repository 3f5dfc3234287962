// The form of a question, built from its response schema.
import type { Interrupt } from "@ag-ui/client";
import { el } from "./dom";

type Property = { type?: string; title?: string; default?: unknown; pattern?: string; maxLength?: number };
export type Answer = { interruptId: string; status: "resolved" | "cancelled"; payload?: unknown };

/** `answer` is called once. The boolean `approved` of the schema becomes the two buttons. */
export function approvalCard(interrupt: Interrupt, answer: (answer: Answer) => void): HTMLElement {
  const schema = (interrupt.responseSchema ?? {}) as { properties?: Record<string, Property> };
  const fields = Object.entries(schema.properties ?? {}).filter(([, property]) => property.type === "string");
  const inputs = new Map<string, HTMLInputElement>();
  const rows = fields.map(([name, property]) => {
    const id = `${interrupt.id}-${name}`;
    const input = el("input", { id, name, value: String(property.default ?? ""), autocomplete: "off" });
    if (property.pattern) input.pattern = property.pattern.replace(/^\^|\$$/g, "");
    if (property.maxLength) input.maxLength = property.maxLength;
    if (property.pattern) input.inputMode = "decimal";
    inputs.set(name, input);
    return el("div", { class: "field" }, el("label", { for: id }, property.title ?? name), input);
  });
  let sent = false;
  const send = (status: Answer["status"], approved?: boolean) => {
    if (sent) return; // a double click
    const payload: Record<string, unknown> = { approved };
    for (const [name, property] of fields) {
      const value = inputs.get(name)!.value.trim();
      if (value && value !== String(property.default ?? "")) payload[name] = value;
    }
    sent = true;
    for (const control of form.querySelectorAll<HTMLButtonElement | HTMLInputElement>("button, input")) control.disabled = true;
    answer(status === "cancelled" ? { interruptId: interrupt.id, status } : { interruptId: interrupt.id, status, payload });
  };
  const form = el(
    "form",
    {
      class: "approval",
      "aria-label": "Your decision",
      submit: (event) => {
        event.preventDefault();
        send("resolved", true);
      },
    },
    el("p", { class: "eyebrow" }, "Needs your decision"),
    el("p", { class: "question" }, interrupt.message ?? interrupt.reason),
    ...rows,
    el(
      "div",
      { class: "buttons" },
      el("button", { class: "primary", type: "submit" }, "Approve"),
      el("button", { type: "button", click: () => send("resolved", false) }, "Reject"),
      el("button", { class: "quiet", type: "button", click: () => send("cancelled") }, "Cancel"),
    ),
  );
  return form;
}
