"""Report mining, relevance and the dataset builders."""
