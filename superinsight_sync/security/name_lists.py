"""Common names, by which people are known: English and other European first names, and Chinese surnames."""

_FIRST_NAMES = """
james robert john michael david william richard joseph thomas charles christopher daniel matthew anthony mark donald
steven paul andrew joshua kenneth kevin brian george timothy ronald edward jason jeffrey ryan jacob gary nicholas
eric jonathan stephen larry justin scott brandon benjamin samuel gregory frank alexander raymond patrick jack dennis
jerry tyler aaron jose adam nathan henry douglas zachary peter kyle noah ethan jeremy walter christian keith roger
terry austin sean gerald carl harold dylan arthur lawrence jordan jesse bryan billy bruce gabriel joe logan alan
juan albert willie elijah randy wayne vincent mason roy ralph bobby russell bradley philip eugene liam lucas oliver
oscar leo luke lachlan cooper hugo max isaac harry charlie alfie archie toby callum connor cameron angus finn riley
hamish jake kai mary patricia jennifer linda elizabeth barbara susan jessica sarah karen lisa nancy betty margaret
sandra ashley kimberly emily donna michelle carol amanda dorothy melissa deborah stephanie rebecca sharon laura
cynthia kathleen amy angela shirley anna brenda pamela emma nicole helen samantha katherine christine debra rachel
carolyn janet catherine maria heather diane ruth julie olivia joyce virginia victoria kelly lauren christina joan
evelyn judith megan andrea cheryl hannah jacqueline martha gloria teresa ann sara madison frances kathryn janice
jean abigail alice julia judy sophia grace denise amber doris marilyn danielle beverly isabella theresa diana
natalie brittany charlotte marie kayla alexis lori chloe zoe mia ella lucy ruby lily amelia jane claire jade georgia
caitlin imogen phoebe holly bella eva hans klaus jürgen wolfgang andreas stefan markus martin sabine petra monika
ursula renate ingrid claudia anja katrin heike birgit susanne pierre michel jacques philippe nicolas isabelle sophie
camille luis carlos miguel jorge pedro antonio manuel francisco javier fernando carmen ana lucia giovanni giuseppe
marco francesco lars erik anders sven johan karin astrid ivan sergei dmitri olga tatiana natasha mohammed ahmed ali
fatima omar hassan aisha wei li ming hiroshi yuki kenji raj priya amit sanjay
"""
FIRST_NAMES = frozenset(_FIRST_NAMES.split())

CHINESE_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆"
    "汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
) | {"欧阳", "上官", "司马", "诸葛", "东方", "皇甫", "尉迟", "公孙", "慕容", "司徒"}
