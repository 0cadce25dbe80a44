"""The steps of the workflow: each module is the command of the process of its name; ``bin/`` has the script to call.

A step reads its files, calls the library and writes what came of it. REFINE and RECONSTRUCT are the user's commands
(`drgnalign.commands`).
"""
