"""The index of Azure AI Search that rag-chat searches with RETRIEVER=azure-search."""
