"""The benchmark for other tools: `judged_tasks`, written as `trec` and `mteb_folder`; `export` does both."""
