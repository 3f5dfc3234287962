"""`make doctor`: reads a project of hosted agents and says what a deployment would fail on, before Azure does.

`documents`, `dockerfile`, `ignore_file` and `requirements` read one kind of file each and keep line numbers;
`project` puts them together; each module of `rules` holds small functions that look at one `Project` and yield
findings; `command` runs them. `cloud` holds the checks that need a login.
"""
