"""Office files: Word, Excel, PowerPoint, OpenDocument and RTF."""
