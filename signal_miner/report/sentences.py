"""Every sentence that the command line and the report say about results: numbers and enums in, English out.

The packages below return numbers; a message is reworded here and nowhere else.
"""
