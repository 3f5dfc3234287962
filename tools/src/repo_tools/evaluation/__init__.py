"""Evaluations of the agents: questions with known answers, asked of the running agent, judged by figures: `make eval`.

What an agent is asked and how an answer is judged is one `Evaluation` for each agent; the rest is the same for all:

    results.py      what was found for one question, and a whole run of them
    metrics.py      the formulas
    refusals.py     when an answer counts as a refusal, and whether it was right to refuse
    report.py       the table, the misses, the files
    gates.py        the thresholds that an agent must hold
    comparison.py   two runs beside each other
"""
