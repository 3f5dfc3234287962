"""English as text: words, stems, sentences. It knows the language's small words and endings, never a subject."""
