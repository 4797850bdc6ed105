"""The lab tenant: the cloud side of Windows Hello for one lab domain, without any cloud."""
