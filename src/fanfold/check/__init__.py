"""Finds the settings in a SAM or CloudFormation template that lose or duplicate messages.

A template is read (``reading``), SAM translated (``sam``), functions such as ``Fn::If`` worked out as far as they can
be (``intrinsics``), made into values (``model``), and every rule of one table (``rules``) looks at those values alone.
"""
