"""An AWS in which whole stacks come up: MiniStack, with what it lacks for that (`app`), and a
stand-in for EC2's machines (`machines`). Each patch names what of AWS it stands for, and fails
loudly when MiniStack has changed under it.
"""
