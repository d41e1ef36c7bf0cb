"""Find the settings in a SAM or CloudFormation template that lose or duplicate messages.

The steps: read the template (``reading``), translate SAM (``sam``), evaluate intrinsic functions such as ``Fn::If`` as
far as possible (``intrinsics``), and build a model of plain values (``model``). Every rule of the table (``rules``)
examines only the model.
"""
