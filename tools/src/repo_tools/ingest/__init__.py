"""Brings folders of people's own files into rag-chat: each file becomes a markdown document that its index takes in.

`conversion` turns one file into markdown, `reader_process` runs it where a hostile file can do no harm, `collection`
keeps the documents of one folder up to date, `command` is the verb.
"""
