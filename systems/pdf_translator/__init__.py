"""pdf_translator: a PDF goes in, the same pages come out in another language."""
