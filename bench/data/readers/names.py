"""Owns the names of the formats, and what each holds: told in messages, options and the documentation."""

FORMATS: dict[str, str] = {
    "plain": "prompt, chosen, rejected (or chosen_response, …) or prompt, completion, label, as strings or as messages",
    "dialogues": "chosen and rejected as whole lists of messages that begin alike (UltraFeedback binarized)",
    "hh": "chosen and rejected as whole dialogues in text, «\\n\\nHuman: … \\n\\nAssistant: …» (HH-RLHF)",
    "orca": "system, question, chosen, rejected (Orca pairs), also with a history",
    "sharegpt": "conversations or messages, and chosen, rejected as one message each (LLaMA-Factory, axolotl)",
    "alpaca": "instruction, input, chosen, rejected",
    "openai": "input.messages, preferred_output, non_preferred_output",
    "swift": "messages with the preferred answer last, and rejected_response or rejected_messages (ms-swift)",
    "kto": "messages with the answer last, and label (LLaMA-Factory, ms-swift)",
    "scored": "one prompt and several answers with a score or a rank each (UltraFeedback, distilabel, Nectar)",
    "ranked_text": "text, a list of dialogues, and score, a list of numbers",
    "saferlhf": "prompt, response_0, response_1, better_response_id",
    "alpacafarm": "instruction, input, output_1, output_2, preference",
    "demonstrations": "messages, conversations, instruction and output, or prompt and completion: no label",
}
