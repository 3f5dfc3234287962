"""Finding passages in a folder of documents: cut them, index them, search them.

    build_index(index_file, [folder])              # at start-up; only what changed is read in again
    hits = await FtsRetriever(index_file).search("how long is the warranty?")
    retriever = open_retriever(settings, index_file, [folder])  # both, and embeddings where the settings say so

What a passage is worth to a model, and how an answer cites it, is the agent's concern.
"""

from agent_runtime.retrieval.fts_query import match_expression
from agent_runtime.retrieval.fts_retriever import FtsRetriever
from agent_runtime.retrieval.markdown import chunk_markdown, read_front_matter
from agent_runtime.retrieval.opening import OpenRetriever, open_retriever
from agent_runtime.retrieval.passage_index import Folder, IndexReport, PassageIndex, build_index
from agent_runtime.retrieval.passages import Passage, Retriever, SearchHit
from agent_runtime.retrieval.settings import RetrievalSettings

__all__ = [
    "Folder",
    "FtsRetriever",
    "IndexReport",
    "OpenRetriever",
    "Passage",
    "PassageIndex",
    "RetrievalSettings",
    "Retriever",
    "SearchHit",
    "build_index",
    "chunk_markdown",
    "match_expression",
    "open_retriever",
    "read_front_matter",
]
