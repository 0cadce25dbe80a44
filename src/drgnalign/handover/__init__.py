"""What a run found, handed on to other programs: to RELION as a job, to cryoSPARC, cryoDRGN, the EMDB.

EXPORT writes ``final/`` (`drgnalign.run.export`), which opens anywhere; here results are put into the form that one
program wants, from any pass, when somebody asks for it.
"""
