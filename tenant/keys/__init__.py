"""enterpriseregistration.windows.net: key registration (MS-KPP)."""
